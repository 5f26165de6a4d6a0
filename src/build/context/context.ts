/**
 * Opens the context of a build: a directory, or a tar that is extracted into the store for the time of the
 * build. The context is untrusted. Links in it are resolved inside it.
 *
 * A .dockerignore hides files of a directory. A tar comes from a client that has left out the hidden files
 * already, and in it only the Dockerfile and the .dockerignore itself may be hidden, as in dockerd.
 * Mirrors moby/moby: builder/remotecontext/detect.go at v20.10.
 */
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { FileTree } from '../../container/file-tree.ts';
import { decompress, sniff } from '../../layer/codec.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { parseIgnoreRules, type IgnoreRules } from './ignore-rules.ts';
import { makeScratch } from './scratch.ts';

export type ContextSource = { readonly directory: string } | { readonly tar: Readable };

export interface ContextOptions {
  /** The store's root, which has the scratch directory of a tar. */
  readonly root: Root;
  /** The path of the Dockerfile in the context. `<dockerfile>.dockerignore` comes before `.dockerignore`. */
  readonly dockerfile?: string | undefined;
  /** The limit of a tar's uncompressed bytes, holes of sparse files included. Default 16 TiB. */
  readonly maxBytes?: number | undefined;
  /** Receives a warning for each extended attribute of a tar that cannot be set. */
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuildContext extends AsyncDisposable {
  /** The directory with the files: absolute. */
  readonly root: string;
  /** The rules that hide files of {@link root} from COPY and ADD. */
  readonly ignore: IgnoreRules;
  /**
   * Reads a Dockerfile of the context, also one that is hidden.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_LIMIT_EXCEEDED beyond 16 MiB; ERR_PATH_TYPE for a
   *   path that cannot be reached.
   */
  readDockerfile(name: string): Promise<string>;
}

const MAX_CONTEXT_BYTES = 16 * 1024 ** 4;
const MAX_DOCKERFILE_BYTES = 16 * 1024 ** 2;
const IGNORE = '.dockerignore';

/**
 * Opens a context. The caller disposes it after the build. Then the files of a tar are removed.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND or ERR_PATH_TYPE for the directory;
 *   ERR_INVALID_ARGUMENT for a malformed .dockerignore; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED,
 *   ERR_COMPRESSION_UNSUPPORTED or ERR_LIMIT_EXCEEDED for the tar; ERR_ABORTED; system errors.
 */
export async function openContext(source: ContextSource, options: ContextOptions): Promise<BuildContext> {
  const { dockerfile = 'Dockerfile' } = options;
  if ('directory' in source) {
    const root = await contextDirectory(source.directory);
    const ignore = await readIgnoreRules(root, dockerfile);
    return context({ root, ignore, drop: () => Promise.resolve() });
  }
  const scratch = await makeScratch(options.root);
  try {
    await extract(source.tar, scratch.path, options);
    const rules = await readIgnoreRules(scratch.path, dockerfile);
    const ignore = await hiddenOf([IGNORE, posix.join('.', dockerfile)], scratch.path, rules);
    return context({ root: scratch.path, ignore, drop: scratch.drop });
  } catch (error) {
    await scratch.drop();
    throw error;
  }
}

interface Parts {
  readonly root: string;
  readonly ignore: IgnoreRules;
  readonly drop: () => Promise<void>;
}

function context({ root, ignore, drop }: Parts): BuildContext {
  return {
    root,
    ignore,
    readDockerfile: async (name) => {
      const text = await readText(root, name);
      if (text !== undefined) return text;
      throw new LayerstackError('ERR_PATH_NOT_FOUND', `Cannot locate specified Dockerfile: ${name}`, {
        path: name,
      });
    },
    [Symbol.asyncDispose]: drop,
  };
}

async function contextDirectory(path: string): Promise<string> {
  const root = posix.resolve(path);
  await new FileTree('/').stat(`${root}/.`);
  return root;
}

async function extract(tar: Readable, directory: string, options: ContextOptions): Promise<void> {
  const { compression, bytes } = await sniff(tar);
  await new FileTree(directory).unpack('/', decompress(bytes, compression, options.root.caps), {
    keepKinds: false,
    owner: 'archive',
    maxBytes: options.maxBytes ?? MAX_CONTEXT_BYTES,
    onProgress: options.onProgress,
    signal: options.signal,
  });
}

async function readIgnoreRules(root: string, dockerfile: string): Promise<IgnoreRules> {
  for (const name of [`${dockerfile}${IGNORE}`, IGNORE]) {
    const text = await readText(root, name);
    if (text !== undefined) return parseIgnoreRules(text, name);
  }
  return [];
}

/** Returns rules that hide those of `paths` that `rules` hide. */
async function hiddenOf(paths: readonly string[], root: string, rules: IgnoreRules): Promise<IgnoreRules> {
  const hidden: string[] = [];
  for (const path of paths) {
    const pattern = path.replace(/[*?[\]\\]/g, '\\$&');
    const [present, left] = await Promise.all([
      call(native.matchPaths(root, pattern, [])),
      call(native.matchPaths(root, pattern, rules)),
    ]);
    if (present.length > left.length) hidden.push(pattern);
  }
  return hidden;
}

async function readText(root: string, path: string): Promise<string | undefined> {
  try {
    const bytes = await call(native.readFileInRoot(root, path, MAX_DOCKERFILE_BYTES));
    return bytes === null ? undefined : new TextDecoder().decode(bytes);
  } catch (error) {
    if (!isSystemError(error, 'ELOOP', 'ENOTDIR', 'ENAMETOOLONG')) throw error;
    throw new LayerstackError('ERR_PATH_TYPE', `${path} in the build context cannot be reached`, {
      path,
      cause: error,
    });
  }
}
