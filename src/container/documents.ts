/**
 * `containers/<id>/config.v2.json` and `hostconfig.json`: what dockerd needs to list a container that we made and
 * to start it (moby/moby: container/container.go; reference section 1). dockerd crashes on a container without
 * `Config`, so both files are always complete. `NetworkMode` is `none`: layerstack does no networking, and a
 * daemon without the bridge of another could not start the container otherwise.
 */
import type { ImageID } from '../core/digest.ts';
import { DEFAULT_PATHS } from './spec-defaults.ts';

/** What of a container can be set when it is created; the rest comes from the image. */
export interface ContainerConfig {
  readonly hostname: string;
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly workingDir: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal?: string | undefined;
}

/** The facts `config.v2.json` is made of. */
export interface ContainerFacts {
  readonly id: string;
  readonly name: string;
  /** RFC3339. */
  readonly created: string;
  readonly image: ImageID;
  /** The image as the caller named it, which `docker ps` shows. */
  readonly imageName: string;
  readonly config: ContainerConfig;
}

const NEVER = '0001-01-01T00:00:00Z';
const NO_NETWORK = { Networks: { none: {} } };

/** The text of `config.v2.json` of a container that never ran. */
export function configDocument({ id, name, created, image, imageName, config }: ContainerFacts): string {
  const [path = '', ...args] = [...config.entrypoint, ...config.command];
  return JSON.stringify({
    StreamConfig: {},
    State: { Running: false, Pid: 0, ExitCode: 0, Error: '', StartedAt: NEVER, FinishedAt: NEVER },
    ID: id,
    Created: created,
    Managed: false,
    Path: path,
    Args: args,
    Config: {
      Hostname: config.hostname,
      Domainname: '',
      User: config.user,
      AttachStdin: false,
      AttachStdout: true,
      AttachStderr: true,
      Tty: false,
      OpenStdin: false,
      StdinOnce: false,
      Env: config.env,
      Cmd: orNull(config.command),
      Image: imageName,
      Volumes: null,
      WorkingDir: config.workingDir,
      Entrypoint: orNull(config.entrypoint),
      OnBuild: null,
      Labels: config.labels,
      ...(config.stopSignal === undefined ? {} : { StopSignal: config.stopSignal }),
    },
    Image: image,
    NetworkSettings: NO_NETWORK,
    LogPath: '',
    Name: `/${name}`,
    Driver: 'overlay2',
    OS: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    RestartCount: 0,
    HasBeenStartedBefore: false,
    HasBeenManuallyStopped: false,
    MountPoints: {},
  });
}

/** The text of `hostconfig.json`, the same for every container. */
export const HOST_CONFIG_DOCUMENT = JSON.stringify({
  LogConfig: { Type: 'json-file', Config: {} },
  NetworkMode: 'none',
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  IpcMode: 'private',
  Privileged: false,
  ShmSize: 64 * 1024 * 1024,
  Runtime: 'runc',
  MaskedPaths: DEFAULT_PATHS.masked,
  ReadonlyPaths: DEFAULT_PATHS.readonly,
});

/** Docker writes an unset list as null, and an empty command as a wish to have none. */
function orNull(list: readonly string[]): readonly string[] | null {
  return list.length > 0 ? list : null;
}
