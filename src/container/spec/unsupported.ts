/**
 * Finds the keys of a host config that a bundle cannot carry, since they need a network, a supervisor,
 * another container, or a daemon beside the runtime. A key with the value that docker's clients send for an
 * unset key is never among them.
 */
import { existsSync } from 'node:fs';
import { LayerstackError } from '../../core/errors.ts';
import { isKeptNetwork } from '../documents.ts';
import { parseSecurityOptions } from './security.ts';
import type { VolumeLookup } from './mounts.ts';
import type { HostSettings, MountRequest } from './settings.ts';

/** A key that is not honoured, and why. */
export interface Unsupported {
  /** The key of docker's host config, e.g. `PortBindings`. */
  readonly key: string;
  readonly reason: string;
  /** What to do instead. */
  readonly wayOut: string;
}

/** The facts about the machine that some keys depend on. */
export interface Machine {
  readonly volumeOf: VolumeLookup;
  readonly hasSelinux: boolean;
  readonly hasAppArmor: boolean;
}

/** Returns the facts about this machine, with the volumes of a store. */
export function thisMachine(volumeOf: VolumeLookup): Machine {
  return {
    volumeOf,
    get hasSelinux() {
      return existsSync('/sys/fs/selinux/enforce');
    },
    get hasAppArmor() {
      return existsSync('/sys/kernel/security/apparmor');
    },
  };
}

/**
 * Refuses a host config with keys that `bundle` would leave out. With `ignoreUnsupported`, only reports these
 * keys.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED naming the keys, with a reason and a hint for each.
 */
export function refuseUnsupported(
  host: HostSettings,
  machine: Machine,
  { ignoreUnsupported, onUnsupported }: IgnoreOptions,
): void {
  const unsupported = unsupportedSettings(host, machine);
  if (ignoreUnsupported === true) {
    for (const each of unsupported) onUnsupported?.(each);
    return;
  }
  const [first] = unsupported;
  if (first !== undefined)
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `${unsupported.map(unsupportedText).join('. ')}. Or have layerstack ignore what it does not support (ignoreUnsupported, --ignore-unsupported)`,
      { key: first.key },
    );
}

interface IgnoreOptions {
  readonly ignoreUnsupported?: boolean | undefined;
  readonly onUnsupported?: ((unsupported: Unsupported) => void) | undefined;
}

/** Returns one sentence about one key. */
export function unsupportedText({ key, reason, wayOut }: Unsupported): string {
  return `${key}: ${reason}; ${wayOut}`;
}

/** Returns the keys of a host config that `bundle` leaves out. */
export function unsupportedSettings(host: HostSettings, machine: Machine): readonly Unsupported[] {
  return [
    ...ofNetworks(host),
    ...ofOthers(host),
    ...ofSupervisor(host),
    ...ofSecurity(host, machine),
    ...ofVolumes(host, machine),
  ];
}

function when(
  condition: boolean,
  key: keyof HostSettings,
  reason: string,
  wayOut: string,
): readonly Unsupported[] {
  return condition ? [{ key, reason, wayOut }] : [];
}

function ofNetworks(host: HostSettings): readonly Unsupported[] {
  const { NetworkMode: mode = '', PortBindings, PublishAllPorts, Links, ExtraHosts } = host;
  const own = 'use the network host, or set up the network namespace that the runtime makes';
  return [
    ...when(
      mode === 'bridge' || isKeptNetwork(mode) || mode.startsWith('container:'),
      'NetworkMode',
      `layerstack does no networking: the network ${mode} is not used`,
      own,
    ),
    ...when(
      isFilled(PortBindings),
      'PortBindings',
      'layerstack does no networking: no ports are published',
      own,
    ),
    ...when(
      PublishAllPorts === true,
      'PublishAllPorts',
      'layerstack does no networking: no ports are published',
      own,
    ),
    ...when(
      isFilled(Links),
      'Links',
      'layerstack does no networking: containers are not linked',
      'give ExtraHosts',
    ),
    ...when(
      ExtraHosts?.some((each) => each.endsWith(':host-gateway')) === true,
      'ExtraHosts',
      'layerstack does no networking: host-gateway does not have an address',
      'give an address',
    ),
  ];
}

/** Finds keys that need another container, or a part of docker. */
function ofOthers(host: HostSettings): readonly Unsupported[] {
  const { IpcMode = '', PidMode = '', UTSMode = '', UsernsMode = '', Cgroup = '', Runtime = '' } = host;
  const shared = 'give host, or nothing for a namespace of its own';
  const foreign = (mode: string): boolean => mode.includes(':');
  return [
    ...when(foreign(IpcMode), 'IpcMode', `${IpcMode} needs a process of another container`, shared),
    ...when(foreign(PidMode), 'PidMode', `${PidMode} needs a process of another container`, shared),
    ...when(!['', 'host'].includes(UTSMode), 'UTSMode', `docker does not have the mode ${UTSMode}`, shared),
    ...when(
      !['', 'host'].includes(UsernsMode),
      'UsernsMode',
      `${UsernsMode} needs a root file system whose owners are mapped`,
      'leave it out: the container runs in the user namespace of the runtime',
    ),
    ...when(Cgroup !== '', 'Cgroup', `${Cgroup} needs another container`, 'give CgroupParent'),
    ...when(
      !['', 'runc', 'crun', 'io.containerd.runc.v2'].includes(Runtime),
      'Runtime',
      `layerstack does not start runtimes such as ${Runtime}`,
      `leave it out, and start the bundle with ${Runtime}`,
    ),
    ...when(
      host.Init === true,
      'Init',
      'docker-init belongs to docker, and layerstack does not have it',
      'use an image whose entrypoint is an init (tini, dumb-init)',
    ),
    ...when(
      isFilled(host.DeviceRequests),
      'DeviceRequests',
      'layerstack does not call device drivers (--gpus)',
      'give Devices and Binds',
    ),
    ...when(
      isFilled(host.StorageOpt),
      'StorageOpt',
      'a root file system has no quota',
      "limit the store's file system",
    ),
    ...(['CpuCount', 'CpuPercent'] as const).flatMap((key) =>
      when((host[key] ?? 0) > 0, key, 'it is for Windows', 'give NanoCpus or CpuShares'),
    ),
  ];
}

/** Finds keys that need a supervisor of the process. */
function ofSupervisor(host: HostSettings): readonly Unsupported[] {
  const restart = host.RestartPolicy?.Name ?? '';
  const { Type: driver = '', Config } = host.LogConfig ?? {};
  const isPlain = ['', 'none'].includes(driver) || (driver === 'json-file' && !isFilled(Config));
  return [
    ...when(
      !['', 'no'].includes(restart),
      'RestartPolicy',
      `layerstack does not restart the process (${restart})`,
      'let systemd or another supervisor run the runtime',
    ),
    ...when(
      host.AutoRemove === true,
      'AutoRemove',
      'layerstack does not remove the container when its process ends',
      'remove it with `layerstack rm`',
    ),
    ...when(
      !isPlain,
      'LogConfig',
      `layerstack does not log: standard output and error go where the runtime sends them (${driver})`,
      'redirect them where the runtime is started',
    ),
  ];
}

function ofSecurity({ SecurityOpt }: HostSettings, machine: Machine): readonly Unsupported[] {
  const { labels, apparmor } = parseSecurityOptions(SecurityOpt ?? []);
  return [
    ...when(
      labels.length > 0,
      'SecurityOpt',
      `layerstack does not set SELinux labels (label=${labels.join(', label=')})`,
      'give label=disable',
    ),
    ...when(
      apparmor !== undefined && !['', 'unconfined'].includes(apparmor) && !machine.hasAppArmor,
      'SecurityOpt',
      `this machine has no AppArmor (apparmor=${apparmor})`,
      'give apparmor=unconfined',
    ),
  ];
}

function ofVolumes(host: HostSettings, machine: Machine): readonly Unsupported[] {
  const { Binds, Mounts, VolumesFrom, VolumeDriver = '' } = host;
  return [
    ...when(
      isFilled(VolumesFrom),
      'VolumesFrom',
      'layerstack does not look up volumes of other containers',
      'give their directories as Binds',
    ),
    ...when(
      !['', 'local'].includes(VolumeDriver),
      'VolumeDriver',
      `layerstack does not call volume drivers (${VolumeDriver})`,
      'mount it, and bind the directory',
    ),
    ...(Binds ?? []).flatMap((each) => ofBind(each, machine)),
    ...(Mounts ?? []).flatMap((each) => ofMount(each, machine)),
  ];
}

function ofBind(text: string, machine: Machine): readonly Unsupported[] {
  const [source = '', destination, mode = ''] = text.split(':');
  const relabels = mode.split(',').some((word) => ['z', 'Z'].includes(word));
  return [
    ...(destination === undefined || source.startsWith('/') ? [] : ofName('Binds', source, machine)),
    ...when(
      relabels && machine.hasSelinux,
      'Binds',
      `layerstack does not label files for SELinux (${text})`,
      'label the directory with chcon',
    ),
  ];
}

function ofMount(
  { Type, Source = '', VolumeOptions }: MountRequest,
  machine: Machine,
): readonly Unsupported[] {
  if (Type !== 'volume') return [];
  const { Name: driver = '', Options } = VolumeOptions?.DriverConfig ?? {};
  return [
    ...(Source === '' ? [] : ofName('Mounts', Source, machine)),
    ...when(
      !['', 'local'].includes(driver) || isFilled(Options),
      'Mounts',
      `layerstack does not call volume drivers (${driver || 'options'})`,
      'mount it, and bind the directory',
    ),
    ...when(
      (VolumeOptions?.Subpath ?? '') !== '',
      'Mounts',
      `layerstack does not mount a part of a volume (${VolumeOptions?.Subpath})`,
      'bind the directory',
    ),
  ];
}

/**
 * Finds volumes without a directory. layerstack's own volumes have only names; dockerd's in the same root
 * have directories.
 */
function ofName(key: 'Binds' | 'Mounts', name: string, machine: Machine): readonly Unsupported[] {
  return when(
    machine.volumeOf(name) === undefined,
    key,
    `the volume ${name} has no directory`,
    'give the absolute path of a directory',
  );
}

function isFilled(value: object | null | undefined): boolean {
  return value !== null && value !== undefined && Object.keys(value).length > 0;
}
