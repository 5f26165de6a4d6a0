/**
 * The Go types that dockerd decodes an image's config into, field by field. They are the union of docker
 * 20.10's and 28's, in which common fields have the same types. Mirrors
 * `moby/moby: image/image.go, api/types/container/config.go`.
 */
import { list, mapOf, pointer, struct, type GoType } from '../core/go-read.ts';

/** Go's `map[string]struct{}`. */
const set = mapOf(struct({}));

const HEALTH_CONFIG = struct({
  Test: list('string'),
  Interval: 'int64',
  Timeout: 'int64',
  StartPeriod: 'int64',
  StartInterval: 'int64',
  Retries: 'int64',
});

/** The fields of `container.Config`. */
export const CONTAINER_CONFIG_FIELDS: Readonly<Record<string, GoType>> = {
  Hostname: 'string',
  Domainname: 'string',
  User: 'string',
  AttachStdin: 'bool',
  AttachStdout: 'bool',
  AttachStderr: 'bool',
  ExposedPorts: set,
  Tty: 'bool',
  OpenStdin: 'bool',
  StdinOnce: 'bool',
  Env: list('string'),
  Cmd: 'words',
  Healthcheck: pointer(HEALTH_CONFIG),
  ArgsEscaped: 'bool',
  Image: 'string',
  Volumes: set,
  WorkingDir: 'string',
  Entrypoint: 'words',
  NetworkDisabled: 'bool',
  MacAddress: 'string',
  OnBuild: list('string'),
  Labels: mapOf('string'),
  StopSignal: 'string',
  StopTimeout: pointer('int64'),
  Shell: 'words',
};

export const CONTAINER_CONFIG = struct(CONTAINER_CONFIG_FIELDS);

const V1_IMAGE_FIELDS: Readonly<Record<string, GoType>> = {
  id: 'string',
  parent: 'string',
  comment: 'string',
  created: 'time',
  container: 'string',
  container_config: CONTAINER_CONFIG,
  docker_version: 'string',
  author: 'string',
  config: pointer(CONTAINER_CONFIG),
  architecture: 'string',
  variant: 'string',
  os: 'string',
  Size: 'int64',
};

/** The type of `<id>/json` of docker < 1.10. */
export const V1_IMAGE = struct(V1_IMAGE_FIELDS);

const HISTORY = struct({
  created: 'time',
  author: 'string',
  created_by: 'string',
  comment: 'string',
  empty_layer: 'bool',
});

/** The type of an image's config. */
export const IMAGE = struct({
  ...V1_IMAGE_FIELDS,
  rootfs: pointer(struct({ type: 'string', diff_ids: list('string') })),
  history: list(HISTORY),
  'os.version': 'string',
  'os.features': list('string'),
});
