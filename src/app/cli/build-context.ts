/** The context and the Dockerfile of `build`, from its operand and `--file`. */
import { readFile, realpath } from 'node:fs/promises';
import { relative, resolve, sep } from 'node:path';
import { Readable } from 'node:stream';
import { LayerstackError, unlessMissing } from '../../core/errors.ts';
import type { BuildOptions, BuildSource } from '../../build/options.ts';
import { native } from '../../system/native.ts';
import { UsageError } from './command.ts';

export interface BuildInput extends Pick<BuildOptions, 'dockerfile' | 'dockerfileText'> {
  readonly source: BuildSource;
}

const STDIN = '-';
const HEADER_BYTES = 512;
/** A larger text is not parsed anyway. */
const MAX_TEXT_BYTES = 16 << 20;
const EMPTY_TAR = Buffer.alloc(1024);

/**
 * Returns the input of a build. As with docker, `-` as the context is a tar or a Dockerfile on stdin, `-` as
 * the file is a Dockerfile on stdin, and the file may be outside of the context.
 * @throws UsageError where stdin is wanted twice, or is a terminal, or a file or directory is missing;
 *   {@link LayerstackError} ERR_LIMIT_EXCEEDED for a Dockerfile on stdin that is too large.
 */
export async function buildInput(
  context: string,
  file: string | undefined,
  stdin: NodeJS.ReadStream,
): Promise<BuildInput> {
  if (/^(?:https?|git|ssh):\/\/|^git@/.test(context))
    throw new UsageError(
      `${context} is a URL: download it, and give its directory, or pipe a tar into build -`,
    );
  if (context === STDIN && file === STDIN)
    throw new UsageError('context and Dockerfile cannot both be stdin');
  if ((context === STDIN || file === STDIN) && stdin.isTTY)
    throw new UsageError('stdin is a terminal: pipe in a tar, or a Dockerfile');
  if (context === STDIN) return stdinContext(stdin, file);
  if (file === STDIN) return { source: context, dockerfileText: await readText(stdin) };
  return { source: context, ...(file !== undefined && (await dockerfileOf(context, file))) };
}

async function stdinContext(stdin: Readable, dockerfile: string | undefined): Promise<BuildInput> {
  const { head, rest } = await peek(stdin);
  // The header of a tar has zero bytes, which a Dockerfile does not have.
  const isArchive = head.includes(0) || native.sniffCompression(head) !== 'none';
  if (isArchive) return { source: rest, dockerfile };
  return { source: Readable.from([EMPTY_TAR]), dockerfileText: await readText(rest) };
}

async function peek(stdin: Readable): Promise<{ readonly head: Buffer; readonly rest: Readable }> {
  const pieces = stdin.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
  let head: Buffer = Buffer.alloc(0);
  while (head.length < HEADER_BYTES) {
    const next = await pieces.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const all = async function* (): AsyncGenerator<Buffer> {
    yield head;
    yield* pieces;
  };
  return { head, rest: Readable.from(all(), { objectMode: false }) };
}

async function readText(stream: Readable): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > MAX_TEXT_BYTES)
      throw new LayerstackError('ERR_LIMIT_EXCEEDED', `the Dockerfile on stdin is larger than 16 MiB`, {
        limit: MAX_TEXT_BYTES,
      });
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** Returns the path of a Dockerfile in the context, or the text of one outside. */
async function dockerfileOf(
  context: string,
  file: string,
): Promise<Pick<BuildInput, 'dockerfile' | 'dockerfileText'>> {
  const directory = await unlessMissing(realpath(context));
  const path = await unlessMissing(realpath(resolve(file)));
  if (path === undefined) throw new UsageError(`the Dockerfile ${file} does not exist`);
  if (directory === undefined) throw new UsageError(`the context ${context} does not exist`);
  const inside = relative(directory, path);
  if (inside !== '..' && !inside.startsWith(`..${sep}`)) return { dockerfile: inside };
  return { dockerfileText: await readFile(path, 'utf8') };
}
