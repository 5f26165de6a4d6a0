/**
 * A directory from which no path leads out: a container's mounted root file system, or the host's. Subtrees
 * are packed as tars, and tars are extracted. The kernel resolves links inside the directory (openat2), so
 * links that a container changes meanwhile cannot lead out of it. No program or library of the container is
 * run or loaded.
 */
import { Readable } from 'node:stream';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { OnProgress } from '../core/progress.ts';
import { feed } from '../layer/feed.ts';
import { call, native, type TreeUnpackOptions } from '../system/native.ts';
import { baseName } from './copy-path.ts';
import { pathStat, type PathStat } from './path-stat.ts';

const READ_BYTES = 1024 * 1024;

export interface PackOptions {
  /** The name of the top entry. With `/`, every name begins with `/`. */
  readonly name: string;
  /** Includes the content of mounts inside. */
  readonly crossMounts: boolean;
  /**
   * Packs each hole of a file as a hole, for a reader that keeps them. Otherwise, packs a hole only if its
   * zeros would be too many.
   */
  readonly sparse: boolean;
  /** Receives a warning for each file that a tar cannot hold (sockets). */
  readonly onProgress?: OnProgress | undefined;
  /** Called once, when all files of the tree are closed, and before the stream ends. */
  readonly release?: (() => Promise<void>) | undefined;
}

export interface UnpackOptions extends Pick<TreeUnpackOptions, 'keepKinds' | 'owner' | 'maxBytes'> {
  /** Receives a warning for each extended attribute that cannot be set. */
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class FileTree {
  readonly #root: string;
  readonly #label: string;

  /**
   * @param root - an absolute path
   * @param label - a prefix of paths in messages, e.g. `build:`
   */
  constructor(root: string, label = '') {
    this.#root = root;
    this.#label = label;
  }

  /**
   * Returns the stat of an absolute path. Follows a link as its last component only if the path ends in `/`
   * or `/.`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE when a component is not a directory, or
   *   is a link to itself.
   */
  async stat(path: string): Promise<PathStat> {
    try {
      return pathStat(baseName(path), await call(native.statInRoot(this.#root, path)));
    } catch (error) {
      throw this.#explain(error, path);
    }
  }

  /**
   * Returns the tar of a path, resolved as in {@link stat}. The tree is not locked: a file that changes
   * meanwhile is packed in its state at that moment.
   * @throws {@link LayerstackError} (by the stream) ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_UPPER_CHANGED when
   *   a file shrank while it was read, ERR_LIMIT_EXCEEDED for a file with more holes than a tar can describe.
   */
  pack(path: string, { name, crossMounts, sparse, onProgress, release }: PackOptions): Readable {
    const subtree = { path, name: name === '/' ? '' : name, crossMounts, sparse };
    const tar = new native.LayerTar(this.#root, undefined, subtree);
    let released: Promise<void> | undefined;
    const free = (): Promise<void> => (released ??= release?.() ?? Promise.resolve());
    const read = async (): Promise<Uint8Array | null> => {
      const { chunk, warnings } = await call(tar.read());
      for (const warning of warnings) onProgress?.({ type: 'warning', ...warning });
      if (chunk === null) await free();
      return chunk;
    };
    return new Readable({
      highWaterMark: READ_BYTES,
      read() {
        read().then(
          (chunk) => this.push(chunk),
          (error: unknown) => this.destroy(error as Error),
        );
      },
      destroy: (error, done) => {
        call(tar.close())
          .then(free)
          .then(
            () => done(error && this.#explain(error, path)),
            (failure: unknown) => done(error ?? (failure as Error)),
          );
      },
    });
  }

  /**
   * Extracts an uncompressed tar into the directory at a path. Links are followed inside the tree.
   * Directories are merged, and other entries replaced. Not synced. After an error, the extracted files stay.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE; ERR_ARCHIVE_INVALID,
   *   ERR_ARCHIVE_TRUNCATED or ERR_LIMIT_EXCEEDED with `member`; ERR_ABORTED; system errors; any error of the
   *   source.
   */
  async unpack(
    path: string,
    tar: AsyncIterable<Uint8Array>,
    { keepKinds, owner, maxBytes, onProgress, signal }: UnpackOptions,
  ): Promise<void> {
    const unpack = new native.TreeUnpack({ root: this.#root, directory: path, keepKinds, owner, maxBytes });
    try {
      const warnings = await feed(tar, unpack, { signal });
      for (const warning of warnings) onProgress?.({ type: 'warning', ...warning });
    } catch (error) {
      throw this.#explain(error, path);
    }
  }

  /** Explains a failure to reach `path` itself to the user. Returns other errors unchanged. */
  #explain(error: unknown, path: string): Error {
    const failed = error as Error;
    if (!isSystemError(error) || error.path !== path) return failed;
    const where = `${this.#label}${path}`;
    // A file with a name that is too long for the file system cannot exist.
    if (error.code === 'ENOENT' || error.code === 'ENAMETOOLONG')
      return new LayerstackError('ERR_PATH_NOT_FOUND', `${where} does not exist`, { path, cause: error });
    if (error.code === 'ENOTDIR')
      return new LayerstackError('ERR_PATH_TYPE', `${where}: a part of the path is not a directory`, {
        path,
        cause: error,
      });
    if (error.code === 'ELOOP')
      return new LayerstackError('ERR_PATH_TYPE', `${where} leads through too many symbolic links`, {
        path,
        cause: error,
      });
    return failed;
  }
}
