/**
 * Writes an OCI bundle for runc, crun and other runtimes: `<dir>/config.json`, and beside it the files that
 * are bound over /etc/{hostname,hosts,resolv.conf}. `root.path` is the container's mounted root file system.
 * The specification allows an absolute path, so nothing is copied. The config's user is looked up in the root
 * file system, so it must be mounted.
 */
import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join, resolve } from 'node:path';
import type { ContainerConfig } from '../image/container-config.ts';
import { makeDirectories } from '../system/make-directories.ts';
import type { Root } from '../system/root.ts';
import type { Mount } from './mount.ts';
import type { Container } from './record.ts';
import { runtimeSpec, type RuntimeMachine, type RuntimeSpec } from './spec.ts';
import { ownCapabilities } from './spec/capabilities.ts';
import { devicesOf } from './spec/devices.ts';
import { nameFiles } from './spec/files.ts';
import { MappingLog, type Mapping } from './spec/mapping.ts';
import { allMounts, requestedMounts } from './spec/mounts.ts';
import { hasUnifiedCgroups } from './spec/namespaces.ts';
import { resourcesOf } from './spec/resources.ts';
import { parseSecurityOptions } from './spec/security.ts';
import { readHostSettings, type HostSettings } from './spec/settings.ts';
import { thisMachine, unsupportedSettings, type Machine, type Unsupported } from './spec/unsupported.ts';
import { resolveUser } from './user.ts';
import { readUserDatabase } from './user-database.ts';
import { cleanPath } from './validate-mounts.ts';
import { containerVolumes, imageVolumes, namedVolumes, type VolumeHome } from './volumes.ts';

export interface BundleOptions {
  /** Replaces the container's Cmd, as `docker run IMAGE COMMAND` does. */
  readonly command?: readonly string[] | undefined;
  /**
   * Replaces the container's Entrypoint, and drops its Cmd. An empty list, or one empty word, means no
   * entrypoint.
   */
  readonly entrypoint?: readonly string[] | undefined;
  /** Replaces the container's `User`. */
  readonly user?: string | undefined;
  readonly workingDir?: string | undefined;
  /** `NAME=value`, added to the container's. */
  readonly env?: readonly string[] | undefined;
  /**
   * `root.readonly`: the runtime makes the root file system read-only. Default: true if it is mounted
   * read-only, or if the container's host config says so.
   */
  readonly readOnly?: boolean | undefined;
}

export interface Bundle {
  /** Absolute path of the bundle: `runc run --bundle <path> <id>`. */
  readonly path: string;
  readonly spec: RuntimeSpec;
  /**
   * Those of the image's volumes that are not mounted: the root, /proc, /sys, /dev, and paths missing in a
   * read-only root.
   */
  readonly leftOut: readonly string[];
  /** Which key of the container's host config set which key of `config.json`. */
  readonly mapped: readonly Mapping[];
  /** Keys of the container's host config that are not honoured. */
  readonly unsupported: readonly Unsupported[];
}

/** The facts that a bundle is made from, in addition to the mount. */
export interface BundleSource {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly host: HostSettings;
  readonly volumes: VolumeHome;
  /** Returns the directory of a volume with a name. */
  readonly volumeOf: (name: string) => string | undefined;
  /** Lets files whose absolute paths begin so be removed if this process dies, where that is possible. */
  temporary(path: string): Promise<AsyncDisposable | undefined>;
}

/** Returns the facts of a container. */
export function containerBundle(root: Root, container: Container): BundleSource {
  const { id, config } = container;
  return {
    ...{ id, config, host: readHostSettings(root.layout, id) },
    volumes: containerVolumes(root, container),
    volumeOf: namedVolumes(root.layout),
    // A store that is open read-only does not have a session. Another process has mounted the container.
    temporary: async (path) => (root.readOnly ? undefined : root.session().temporary(path)),
  };
}

/**
 * Writes the bundle of a mounted root file system to `directory`. Makes the directory if it is missing, and
 * replaces an older `config.json`.
 * @throws {@link LayerstackError} ERR_USER_NOT_FOUND when the user or a group is not in the root file system,
 *   ERR_CONFIG_INVALID when the config has no command, ERR_PATH_NOT_FOUND and ERR_PATH_TYPE for the host's
 *   devices and directories that the host config names, ERR_STORE_CORRUPT for a broken host config; the
 *   errors of {@link imageVolumes}.
 */
export async function writeBundle(
  source: BundleSource,
  mount: Pick<Mount, 'path' | 'readOnly'>,
  directory: string,
  options: BundleOptions = {},
): Promise<Bundle> {
  const log = new MappingLog();
  const { id, host } = source;
  const security = parseSecurityOptions(host.SecurityOpt ?? []);
  const machine = thisMachine(source.volumeOf);
  const config = configOf(source.config, options);
  const path = resolve(directory);
  const database = await readUserDatabase(mount.path);
  const user = resolveUser(config.User, database, host.GroupAdd ?? []);
  const requested = await requestedMounts(host, machine.volumeOf, log);
  const taken = new Set(requested.mounts.map(({ destination }) => destination));
  const wanted = (config.Volumes ?? []).filter((each) => !taken.has(cleanPath(`/${each}`)));
  const volumes = await imageVolumes(source.volumes, mount, [
    ...wanted.map((each) => ({ path: each, isEmpty: false })),
    ...requested.anonymous,
  ]);
  for (const { destination } of volumes.mounts) taken.add(destination);
  const files = await nameFiles(host, { hostname: config.Hostname, directory: path, taken }, log);
  const own = [...volumes.mounts, ...files.map((file) => file.mount)];
  const spec = runtimeSpec(
    {
      ...{ id, config, host, security, user, rootfs: mount.path },
      readOnly: options.readOnly ?? (mount.readOnly || host.ReadonlyRootfs === true),
      mounts: allMounts(host, { requested: requested.mounts, own }, security.writableCgroups, log),
      propagation: requested.propagation,
      devices: await devicesOf(host, log),
      resources: await resourcesOf(host, log),
      machine: await runtimeMachine(host, machine),
    },
    log,
  );
  await makeDirectories(path, 0o711);
  await replaceFiles(source, path, [...files, { name: 'config.json', text: documentText(spec) }]);
  const unsupported = unsupportedSettings(host, machine);
  return { path, spec, leftOut: volumes.leftOut, mapped: log.entries, unsupported };
}

function configOf(config: ContainerConfig, options: BundleOptions): ContainerConfig {
  return {
    ...config,
    ...(options.entrypoint && { Entrypoint: options.entrypoint, Cmd: null }),
    ...(options.command && { Cmd: options.command }),
    ...(options.workingDir !== undefined && { WorkingDir: options.workingDir }),
    User: options.user ?? config.User,
    Env: [...(config.Env ?? []), ...(options.env ?? [])],
  };
}

async function runtimeMachine(
  { Privileged, CapAdd }: HostSettings,
  { hasAppArmor }: Machine,
): Promise<RuntimeMachine> {
  const needsAll = Privileged === true || (CapAdd?.length ?? 0) > 0;
  return {
    capabilities: needsAll ? await ownCapabilities() : [],
    arch: process.arch,
    kernel: release(),
    hasUnifiedCgroups: await hasUnifiedCgroups(),
    hasAppArmor,
  };
}

/**
 * Returns indented JSON. Integers beyond JavaScript's are exact: the value for "no limit" has 64 one bits.
 */
function documentText(spec: RuntimeSpec): string {
  const mark = randomBytes(16).toString('hex');
  const text = JSON.stringify(
    spec,
    (_, value: unknown) => (typeof value === 'bigint' ? `${mark}${value}` : value),
    2,
  );
  return `${text.replaceAll(new RegExp(`"${mark}(-?\\d+)"`, 'g'), '$1')}\n`;
}

/**
 * Writes the files under new names, then renames them. The directory may belong to another user, who must not
 * redirect the writes of root by links.
 */
async function replaceFiles(
  source: BundleSource,
  directory: string,
  files: readonly { readonly name: string; readonly text: string }[],
): Promise<void> {
  const prefix = join(directory, `.tmp-${randomBytes(6).toString('hex')}-`);
  await using _marked = await source.temporary(prefix);
  try {
    for (const { name, text } of files) await writeFile(prefix + name, text, { flag: 'wx', mode: 0o644 });
    for (const { name } of files) await rename(prefix + name, join(directory, name));
  } catch (error) {
    for (const { name } of files) await rm(prefix + name, { force: true });
    throw error;
  }
}
