/**
 * COPY and ADD of a Dockerfile. A copy is prepared first: its digest tells whether the cache has the result.
 * Then it is applied to the root file system of a step. Files are read and written in native code
 * (native/tree/copy_in), and links are resolved inside the context and inside the root file system.
 * Mirrors moby/moby: builder/dockerfile/copy.go at v20.10, with BuildKit's `--chmod`, `--exclude`,
 * `--parents`, `--checksum` and heredocs.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { abortable } from '../../layer/feed.ts';
import { call, native, type TreeCopyOptions } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import type { RegistrySettings } from '../../transfer/registry/settings.ts';
import { download, type DownloadOptions, type RemoteFile } from './download.ts';
import { ignoreRule, type IgnoreRules } from './ignore-rules.ts';
import { makeScratch, type Scratch } from './scratch.ts';
import { findSources, type Source } from './sources.ts';

/** A heredoc. */
export interface InlineFile {
  readonly name: string;
  readonly content: string;
}

export interface CopyRequest {
  readonly instruction: 'COPY' | 'ADD';
  /** The directory with the sources: a context, or the root file system of a stage or image. */
  readonly from: string;
  /** The rules of the context. Without them, `from` is not a context. */
  readonly ignore?: IgnoreRules | undefined;
  readonly sources: readonly string[];
  readonly inline?: readonly InlineFile[] | undefined;
  readonly remote?: readonly RemoteFile[] | undefined;
  readonly destination: string;
  readonly workingDir: string;
  /** Default: root, or the owner in `from` if that is not a context. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** `--chmod`: octal. */
  readonly mode?: string | undefined;
  readonly exclude?: readonly string[] | undefined;
  readonly parents?: boolean | undefined;
  /** Extracts sources that are tars. Their members keep their owners and modes. */
  readonly extract?: boolean | undefined;
}

export interface CopyEnvironment extends Omit<DownloadOptions, 'settings'> {
  /** Reads the settings for registries, by which downloads use proxies. */
  readonly settings: () => Promise<RegistrySettings>;
  /** The store's root, which has the scratch directory of heredocs and downloads. */
  readonly root: Root;
  /** Receives a warning for each thing that cannot be copied: sockets, forbidden extended attributes. */
  readonly onProgress?: OnProgress | undefined;
}

export interface PreparedCopy extends AsyncDisposable {
  /** `sha256:` and hex, of names, kinds, modes, owners, extended attributes and contents; without times. */
  readonly digest: string;
  /**
   * Copies into a mounted root file system. Not synced. After an error, copied files stay.
   * @throws {@link LayerstackError} ERR_CONFLICT where a source has changed since the copy was prepared;
   *   ERR_PATH_TYPE where the destination cannot be a directory; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED
   *   or ERR_LIMIT_EXCEEDED for an extracted tar; ERR_ABORTED; system errors.
   */
  apply(root: string): Promise<void>;
}

/**
 * Finds, downloads and reads the sources. The caller disposes the result, which removes the downloads.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND for a source that is missing or hidden, in docker's
 *   words; ERR_INVALID_ARGUMENT for a source outside the context, for a pattern without a match, for several
 *   sources without a directory, and for a malformed option; ERR_COMPRESSION_UNSUPPORTED for an archive; what
 *   `download` throws; ERR_ABORTED; system errors.
 */
export async function prepareCopy(request: CopyRequest, environment: CopyEnvironment): Promise<PreparedCopy> {
  const { inline = [], remote = [] } = request;
  const scratch = inline.length + remote.length > 0 ? await makeScratch(environment.root) : undefined;
  const drop = async (): Promise<void> => scratch?.drop();
  try {
    const made = scratch === undefined ? [] : await makeFiles(request, scratch, environment);
    const found = await findAll(request);
    const copies = [...copiesOf(request, found), ...made];
    if (copies.length === 0) throw new LayerstackError('ERR_INVALID_ARGUMENT', noSources(request));
    const target = targetOf(request, found.length + made.length);
    const digests: string[] = [];
    for (const copy of copies) digests.push(await run(copy, undefined, request, environment));
    return {
      digest: `sha256:${createHash('sha256').update(digests.join('\n')).digest('hex')}`,
      apply: async (root) => {
        for (const [at, copy] of copies.entries()) {
          const digest = await run(copy, { root, ...target }, request, environment);
          if (digest !== digests[at]) throw changed(request);
        }
      },
      [Symbol.asyncDispose]: drop,
    };
  } catch (error) {
    await drop();
    throw error;
  }
}

async function findAll(request: CopyRequest): Promise<Source[]> {
  const { instruction, from, ignore = [], parents = false } = request;
  const found: Source[] = [];
  for (const written of request.sources)
    found.push(...(await findSources(written, { instruction, from, ignore, parents })));
  return found;
}

const ROOT_USER = { uid: 0, gid: 0 };

function copiesOf(request: CopyRequest, sources: readonly Source[]): TreeCopyOptions[] {
  if (sources.length === 0) return [];
  const copy = {
    root: request.from,
    sources: sources.map(({ path }) => path),
    names: sources.map(({ name }) => name),
    rules: request.ignore ?? [],
    excludes: (request.exclude ?? []).map((pattern) =>
      ignoreRule(pattern, `${request.instruction} --exclude`),
    ),
    keepNames: request.parents === true,
    extract: request.extract === true,
    owner: request.owner ?? (request.ignore === undefined ? undefined : ROOT_USER),
    mode: modeOf(request),
  };
  return [copy];
}

/** Writes heredocs and downloads, each into a directory of its own. */
async function makeFiles(
  request: CopyRequest,
  scratch: Scratch,
  { settings, env, signal }: CopyEnvironment,
): Promise<TreeCopyOptions[]> {
  const made: TreeCopyOptions[] = [];
  const add = (root: string, name: string): void => {
    const [copy] = copiesOf({ ...request, from: root, ignore: [], exclude: [], extract: false }, [
      { path: Buffer.from(name), name: Buffer.from(name) },
    ]);
    if (copy !== undefined) made.push(copy);
  };
  for (const { name, content } of request.inline ?? []) {
    const directory = join(scratch.path, String(made.length));
    await mkdir(directory);
    const base = posix.basename(name);
    await writeFile(join(directory, base), content, { mode: 0o644 });
    add(directory, base);
  }
  for (const file of request.remote ?? []) {
    const directory = join(scratch.path, String(made.length));
    add(directory, await download(file, directory, { settings: await settings(), env, signal }));
  }
  return made;
}

function modeOf({ mode, instruction }: CopyRequest): number | undefined {
  if (mode === undefined) return undefined;
  if (/^[0-7]{1,4}$/.test(mode)) return parseInt(mode, 8);
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${instruction} --chmod=${mode}: write the mode as octal digits, such as 755`,
    { found: mode },
  );
}

function targetOf(
  { destination, workingDir, instruction }: CopyRequest,
  count: number,
): { readonly path: string; readonly directory: boolean } {
  const directory = destination.endsWith('/');
  if (count > 1 && !directory)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `When using ${instruction} with more than one source file, the destination must be a directory and end with a /`,
      { found: destination },
    );
  return { path: posix.resolve('/', workingDir, destination), directory };
}

/** Runs one copy, and returns its digest. */
async function run(
  copy: TreeCopyOptions,
  target: { readonly root: string; readonly path: string; readonly directory: boolean } | undefined,
  request: CopyRequest,
  { signal, onProgress }: CopyEnvironment,
): Promise<string> {
  const work = new native.TreeCopy(copy, target);
  try {
    const { digest, warnings } = await abortable(work, signal, () => call(work.result));
    if (target) for (const warning of warnings) onProgress?.({ type: 'warning', ...warning });
    return digest;
  } catch (error) {
    throw explain(error, copy, request);
  }
}

function explain(error: unknown, copy: TreeCopyOptions, request: CopyRequest): unknown {
  if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP')) return error;
  const path = error.path ?? '';
  const isSource = copy.sources.some((source) => Buffer.from(source).toString() === path);
  if (isSource && error.code !== 'ELOOP') {
    const where =
      request.ignore === undefined ? '' : 'file not found in build context or excluded by .dockerignore: ';
    const message = `${request.instruction} failed: ${where}stat ${path}: file does not exist`;
    return new LayerstackError('ERR_PATH_NOT_FOUND', message, { path, cause: error });
  }
  const why = error.code === 'ELOOP' ? 'too many links lead to it' : 'a part of it is not a directory';
  const message = `${request.instruction} failed: cannot copy to or from ${path}: ${why}`;
  return new LayerstackError('ERR_PATH_TYPE', message, { path, cause: error });
}

function noSources({ instruction }: CopyRequest): string {
  return `${instruction} failed: no source files were specified`;
}

function changed({ instruction, sources }: CopyRequest): LayerstackError {
  return new LayerstackError(
    'ERR_CONFLICT',
    `${instruction} failed: ${sources.join(' ')} changed while it was copied: build again`,
  );
}
