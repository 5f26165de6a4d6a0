/**
 * An OCI bundle for runc, crun and the like: `<dir>/config.json`, whose `root.path` is the container's mounted root
 * file system (the specification lets it be absolute, so nothing is copied). The user of the config is looked up in
 * that root file system, which must therefore be mounted.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Root } from '../system/root.ts';
import type { Mount } from './mount.ts';
import type { Container } from './record.ts';
import { runtimeSpec, withVolumes, type RuntimeSpec } from './spec.ts';
import { resolveUser } from './user.ts';
import { readUserDatabase } from './user-database.ts';
import { imageVolumes } from './volumes.ts';

export interface BundleOptions {
  /** Replaces entrypoint and command. */
  readonly args?: readonly string[] | undefined;
  /** Replaces the container's `User`. */
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** `NAME=value`, added to the container's. */
  readonly env?: readonly string[] | undefined;
  /** `root.readonly`: the runtime makes the root file system read-only. Default: as it is mounted. */
  readonly readOnly?: boolean | undefined;
}

export interface Bundle {
  /** Absolute path of the bundle: `runc run --bundle <path> <id>`. */
  readonly path: string;
  readonly spec: RuntimeSpec;
  /** Volumes of the image that nothing is mounted for: the root, /proc, /sys, /dev; or missing in a read-only root. */
  readonly leftOut: readonly string[];
}

/**
 * Writes the bundle of a mounted container to `directory`, made when missing; an older `config.json` is replaced.
 * @throws {@link LayerstackError} ERR_USER_NOT_FOUND when the user or group is not in the root file system,
 *   ERR_CONFIG_INVALID when there is no command to run; what {@link imageVolumes} throws.
 */
export async function writeBundle(
  root: Root,
  container: Container,
  mount: Pick<Mount, 'path' | 'readOnly'>,
  directory: string,
  options: BundleOptions = {},
): Promise<Bundle> {
  const { config } = container;
  const plain = runtimeSpec({
    id: container.id,
    config: {
      ...config,
      ...(options.args && { Entrypoint: null, Cmd: options.args }),
      ...(options.workingDir !== undefined && { WorkingDir: options.workingDir }),
      Env: [...(config.Env ?? []), ...(options.env ?? [])],
    },
    user: resolveUser(options.user ?? config.User, await readUserDatabase(mount.path)),
    rootfs: mount.path,
    readOnly: options.readOnly ?? mount.readOnly,
  });
  const volumes = await imageVolumes(root, container, mount);
  const spec = withVolumes(plain, volumes.mounts);
  const path = resolve(directory);
  await mkdir(path, { recursive: true, mode: 0o711 });
  await replaceFile(join(path, 'config.json'), `${JSON.stringify(spec, null, 2)}\n`);
  return { path, spec, leftOut: volumes.leftOut };
}

/** Under a new name first: the directory may be another user's, who must not choose where root writes. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, text, { flag: 'wx', mode: 0o644 });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
