/** The mounts of `RUN --mount`, for the runtime. None of them reaches the layer of the step. */
import { constants } from 'node:fs';
import { stat } from 'node:fs/promises';
import { posix, resolve } from 'node:path';
import { digestOf, hexOf } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { MountRequest } from '../container/spec/settings.ts';
import { prepareCopy, type CopyEnvironment } from './context/copy.ts';
import { missingPaths, pathInRoot } from './path-in-root.ts';
import type { RunMount } from './run-instruction.ts';

/** Where a mount finds its files. */
export interface MountSources extends Pick<CopyEnvironment, 'settings'> {
  readonly root: Root;
  readonly secrets: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Returns the directory with the files of a stage or image; of the context without a name. */
  directory(from: string | undefined): Promise<string>;
}

/**
 * Returns what makes the mounts part of the cache's key: their flags, and the digests of what is bound.
 * Secrets and caches count by their flags alone.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND for a missing source.
 */
export async function mountKeys(mounts: readonly RunMount[], sources: MountSources): Promise<string[]> {
  const keys: string[] = [];
  for (const { type, from, source, text } of mounts) {
    if (type !== 'bind') {
      keys.push(`--mount=${text}`);
      continue;
    }
    await using copy = await prepareCopy(
      {
        ...{ instruction: 'COPY', from: await sources.directory(from), sources: [source] },
        ...{ destination: '/', workingDir: '/' },
      },
      sources,
    );
    keys.push(`--mount=${text} ${copy.digest}`);
  }
  return keys;
}

/**
 * Returns the mounts in docker's form.
 * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND for a source or a required secret that is missing.
 */
export async function mountRequests(
  mounts: readonly RunMount[],
  workingDir: string,
  sources: MountSources,
): Promise<MountRequest[]> {
  const requests: MountRequest[] = [];
  for (const mount of mounts) {
    const Target = posix.resolve('/', workingDir, mount.target);
    if (mount.type === 'tmpfs') {
      const size = mount.size === undefined ? {} : { TmpfsOptions: { SizeBytes: mount.size } };
      requests.push({ Type: 'tmpfs', Target, ...size });
      continue;
    }
    const Source = await sourceOf(mount, sources);
    if (Source !== undefined)
      requests.push({ Type: 'bind', Source, Target, ReadOnly: mount.type !== 'cache' });
  }
  return requests;
}

async function sourceOf(mount: RunMount, sources: MountSources): Promise<string | undefined> {
  if (mount.type === 'secret') return secretOf(mount, sources.secrets);
  if (mount.type === 'cache') return cacheOf(mount, sources.root);
  return pathInRoot(await sources.directory(mount.from), mount.source);
}

/** Returns the file of a secret. It is bound where it is, so no copy of it is written. */
async function secretOf(
  { id, required }: RunMount,
  secrets: MountSources['secrets'],
): Promise<string | undefined> {
  const path = Object.hasOwn(secrets, id) ? secrets[id] : undefined;
  if (path === undefined) {
    if (!required) return undefined;
    throw new LayerstackError(
      'ERR_PATH_NOT_FOUND',
      `the secret ${id} is required, and was not given: give its file (--secret id=${id},src=FILE)`,
      { id },
    );
  }
  try {
    if ((await stat(path)).isFile()) return resolve(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
  }
  throw new LayerstackError('ERR_PATH_NOT_FOUND', `the file of the secret ${id} does not exist: ${path}`, {
    path,
  });
}

/** Returns the directory of a cache, which stays for later builds. */
async function cacheOf({ id }: RunMount, { layout }: Root): Promise<string> {
  const directory = layout.buildCache(hexOf(digestOf(Buffer.from(id))).slice(0, 32));
  await call(
    native.batch(layout.root, [
      { op: 'mkdir', path: layout.buildCaches, mode: 0o711, exist: true },
      { op: 'mkdir', path: directory, mode: 0o755, exist: true },
    ]),
  );
  return layout.at(directory);
}

/** Lets no other build use a cache with `sharing=locked` at the same time. */
export async function lockCaches(
  mounts: readonly RunMount[],
  { root, signal }: Pick<MountSources, 'root' | 'signal'>,
): Promise<AsyncDisposable> {
  const ids = mounts.filter(({ isLocked }) => isLocked).map(({ id }) => `build-cache:${id}`);
  return root.locks.acquireAll('containers', [...new Set(ids)], { signal });
}

/** Mount points that a runtime makes for the mounts. They are removed after the command. */
export class MountPoints {
  readonly #rootfs: string;
  readonly #missing: readonly string[];

  private constructor(rootfs: string, missing: readonly string[]) {
    this.#rootfs = rootfs;
    this.#missing = missing;
  }

  /** Notes which of the mount points a root file system does not have. */
  static async find(rootfs: string, requests: readonly MountRequest[]): Promise<MountPoints> {
    const missing = new Set<string>();
    for (const { Target = '/' } of requests)
      for (const path of await missingPaths(rootfs, Target)) missing.add(path);
    return new MountPoints(
      rootfs,
      [...missing].sort((a, b) => b.split('/').length - a.split('/').length),
    );
  }

  /** Removes them. Those into which the command has written stay. */
  async remove(): Promise<void> {
    for (const path of this.#missing) {
      try {
        const { mode } = await call(native.statInRoot(this.#rootfs, `/${path}`));
        const op = (mode & constants.S_IFMT) === constants.S_IFDIR ? 'rmdir' : 'unlink';
        await call(native.batch(this.#rootfs, [{ op, path, missing: true }]));
      } catch (error) {
        if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST', 'ENOTDIR')) throw error;
      }
    }
  }
}
