/** COPY and ADD: finds the sources of the instruction, and names its owner and its step of the history. */
import { LayerstackError } from '../core/errors.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { readUserDatabase } from '../container/user-database.ts';
import { resolveUser } from '../container/user.ts';
import { heredocText } from '../dockerfile/heredocs.ts';
import { expandWord, type Environment, type Escape } from '../dockerfile/words.ts';
import { WordError } from '../dockerfile/word-error.ts';
import type { IgnoreRules } from './context/ignore-rules.ts';
import type { CopyRequest } from './context/copy.ts';
import type { CopyInstruction } from './copy-instruction.ts';

/** The files that an instruction copies from. */
export interface CopySource {
  readonly directory: string;
  /** The rules of a context. */
  readonly ignore?: IgnoreRules | undefined;
}

export interface CopySettings {
  readonly config: ContainerConfig;
  readonly variables: Environment;
  readonly escape: Escape;
  /** Returns the root file system of the step before, which has the names of users. */
  rootfs(): Promise<string>;
}

const URL_SOURCE = /^https?:\/\//i;
const GIT_SOURCE = /^(?:git@|git:\/\/|ssh:\/\/)|\.git(?:#.*)?$/i;

/**
 * Returns the request for a copy.
 * @throws {@link LayerstackError} ERR_USER_NOT_FOUND for an owner whose name is not in the image,
 *   ERR_UNSUPPORTED for a repository of git; {@link WordError} for a malformed word.
 */
export async function copyRequest(
  instruction: CopyInstruction,
  source: CopySource,
  settings: CopySettings,
): Promise<CopyRequest> {
  const { name, chown, chmod, exclude, parents, checksum, heredocs } = instruction;
  const expand = (word: string): string => expandWord(word, settings.variables, settings.escape);
  const words = instruction.sources.map(expand);
  const isRemote = (word: string): boolean =>
    name === 'ADD' && URL_SOURCE.test(word) && !GIT_SOURCE.test(word);
  const git = words.find((word) => name === 'ADD' && GIT_SOURCE.test(word));
  if (git !== undefined)
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `ADD ${git}: repositories of git are not supported: clone it into the context, and use COPY`,
      { key: 'ADD' },
    );
  const urls = words.filter(isRemote);
  if (checksum !== undefined && (urls.length !== 1 || words.length !== 1))
    throw new WordError('--checksum needs one URL as the only source');
  return {
    instruction: name,
    from: source.directory,
    ignore: source.ignore,
    sources: words.filter((word) => !isRemote(word)),
    inline: heredocs.map((heredoc) => ({
      name: heredoc.name,
      content: heredoc.expands ? expand(quoted(heredocText(heredoc))) : heredocText(heredoc),
    })),
    remote: urls.map((url) => ({ url, checksum: checksum && expand(checksum) })),
    destination: expand(instruction.destination),
    workingDir: settings.config.WorkingDir || '/',
    owner: chown === undefined ? undefined : await ownerOf(expand(chown), settings),
    mode: chmod && expand(chmod),
    exclude: exclude.map(expand),
    parents,
    extract: name === 'ADD',
  };
}

/** Quotes in a heredoc are text: only variables are expanded. */
function quoted(text: string): string {
  return text.replace(/["']/g, (quote) => `\\${quote}`);
}

/** `USER` alone is also the name of the group, as in docker. */
async function ownerOf(text: string, { rootfs }: CopySettings): Promise<{ uid: number; gid: number }> {
  const [user = '', group = user] = text.split(':', 2);
  const isNumeric = /^\d+$/.test(user) && /^\d+$/.test(group);
  const database = isNumeric ? { passwd: '', group: '' } : await readUserDatabase(await rootfs());
  const { uid, gid } = resolveUser(`${user}:${group}`, database);
  return { uid, gid };
}

/** Returns the step of the history. The flags in it make another result another step. */
export function copyComment(instruction: CopyInstruction, request: CopyRequest, digest: string): string {
  const { name, chown, chmod, exclude, parents } = instruction;
  const flags = [
    ...(chmod === undefined ? [] : [`--chmod=${request.mode} `]),
    ...exclude.map((pattern) => `--exclude=${pattern} `),
    ...(parents ? ['--parents '] : []),
    // docker 20.10 has no space after this one.
    ...(chown === undefined ? [] : [`--chown=${chown}`]),
  ];
  return `${name} ${flags.join('')}${digest.replace(/^sha256:/, 'file:')} in ${request.destination} `;
}
