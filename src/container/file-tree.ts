/**
 * A directory that is the whole world of the paths in it: a container's mounted root file system, or the host's.
 * Subtrees come out as tars and tars go in; links are resolved inside by the kernel (openat2), so what a container
 * does to its own links meanwhile leads nowhere else. Nothing of the container is run or loaded.
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
  /** What the top entry is called; `/`: every name begins with `/`. */
  readonly name: string;
  /** Takes what is mounted inside too. */
  readonly crossMounts: boolean;
  /** Every hole of a file becomes one of the tar, whose reader keeps it; else only where its zeros would be too many. */
  readonly sparse: boolean;
  /** Told of what cannot be part of a tar (sockets). */
  readonly onProgress?: OnProgress | undefined;
  /** Called once, when nothing of the tree is open any more and before the stream ends. */
  readonly release?: (() => Promise<void>) | undefined;
}

export interface UnpackOptions extends Pick<TreeUnpackOptions, 'keepKinds' | 'owner' | 'maxBytes'> {
  /** Told of extended attributes that cannot be set. */
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class FileTree {
  readonly #root: string;
  readonly #label: string;

  /** `root`: absolute. `label` is put in front of paths in messages, e.g. `build:`. */
  constructor(root: string, label = '') {
    this.#root = root;
    this.#label = label;
  }

  /**
   * What is at an absolute path; its last component is followed only where it ends in `/` or `/.`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE where something on the way is no directory, or a link that
   *   leads to itself.
   */
  async stat(path: string): Promise<PathStat> {
    try {
      return pathStat(baseName(path), await call(native.statInRoot(this.#root, path)));
    } catch (error) {
      throw this.#explain(error, path);
    }
  }

  /**
   * The tar of what is at a path, resolved as {@link stat} does. The tree is not locked: what changes meanwhile is as
   * it is when its turn comes.
   * @throws {@link LayerstackError} (by the stream) ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_UPPER_CHANGED where a
   *   file shrank while it was read, ERR_LIMIT_EXCEEDED for one of more holes than a tar can say.
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
   * Extracts a tar, uncompressed, into the directory at a path; links are followed inside the tree. Directories are
   * merged, other entries replaced. Not synced; after an error what was extracted stays.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED or
   *   ERR_LIMIT_EXCEEDED with `member`; ERR_ABORTED; system errors; whatever the source throws.
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

  /** What a failure to reach `path` itself means to the user; other errors stay as they are. */
  #explain(error: unknown, path: string): Error {
    const failed = error as Error;
    if (!isSystemError(error) || error.path !== path) return failed;
    const where = `${this.#label}${path}`;
    // A name that is too long for the file system is nowhere in it.
    if (error.code === 'ENOENT' || error.code === 'ENAMETOOLONG')
      return new LayerstackError('ERR_PATH_NOT_FOUND', `${where} does not exist`, { path, cause: error });
    if (error.code === 'ENOTDIR')
      return new LayerstackError(
        'ERR_PATH_TYPE',
        `${where}: something that is no directory is taken for one`,
        {
          path,
          cause: error,
        },
      );
    if (error.code === 'ELOOP')
      return new LayerstackError('ERR_PATH_TYPE', `${where} leads through too many links`, {
        path,
        cause: error,
      });
    return failed;
  }
}
