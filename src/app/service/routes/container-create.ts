/**
 * `POST /containers/create`: a container's config and host config in docker's terms. Of the latter layerstack does nothing; it
 * is kept for whoever runs the container, and where that is not what one expects a warning says so.
 * Mirrors `moby/moby: daemon/{create,container}.go` at v20.10, checks and words included.
 */
import type { HostConfig } from '../../../container/store.ts';
import { LayerstackError } from '../../../core/errors.ts';
import * as json from '../../../core/json.ts';
import { formatReference, parseReference, withDefaultTag } from '../../../core/reference.ts';
import { decodeContainerConfig, type ContainerConfig } from '../../../image/container-config.ts';
import type { ImageInspect } from '../../../image/store.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { Route, ServiceContext } from '../context.ts';
import { requirePlatform } from '../image-platform.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { badName, isName, nameError } from './container-name.ts';

interface CreateBody {
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
}

const decodeHost = json.object({
  HostConfig: json.withDefault<ReadonlyMap<string, unknown>>(json.map(json.unknown), new Map()),
});

const decodeBody: json.Decoder<CreateBody> = (value, path) => ({
  config: decodeContainerConfig(value, path),
  hostConfig: Object.fromEntries(decodeHost(value, path).HostConfig),
});

export const containerCreateRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/containers/create', handle: createContainer },
];

async function createContainer(
  request: ApiRequest,
  { store, durableCreate: durable }: ServiceContext,
): Promise<void> {
  const { query, signal } = request;
  const { config, hostConfig } = await request.json(decodeBody);
  if (config.Image === '') throw new HttpError(400, 'Config cannot be empty in order to create a container');
  check(config, hostConfig);
  const name = query.text('name');
  if (name !== undefined && !isName(name)) throw new HttpError(400, badName(name));
  const image = await imageOf(store, config.Image);
  requirePlatform(config.Image, image, query.text('platform'));
  requireCommand(config, image);
  const options = { config, hostConfig, imageName: config.Image, name, durable, signal };
  const container = await store.create(image.Id, options).catch((error: unknown) => {
    throw nameError(error, name ?? '');
  });
  sendJson(request, 201, { Id: container.id, Warnings: warnings(hostConfig) });
}

function check({ WorkingDir, Env }: ContainerConfig, hostConfig: HostConfig): void {
  if (WorkingDir !== '' && !WorkingDir.startsWith('/'))
    throw new HttpError(
      400,
      `the working directory '${WorkingDir}' is invalid, it needs to be an absolute path`,
    );
  for (const variable of Env ?? [])
    if (variable === '' || variable.startsWith('='))
      throw new HttpError(400, `invalid environment variable: ${variable}`);
  const policy = (hostConfig['RestartPolicy'] as { readonly Name?: unknown } | null | undefined)?.Name ?? '';
  if (!['', 'no', 'always', 'on-failure', 'unless-stopped'].some((known) => known === policy))
    throw new HttpError(400, `invalid restart policy '${String(policy)}'`);
}

/** The image, by a name or an id; a missing one in the words by which docker's client knows to pull it. */
async function imageOf(store: Layerstack, name: string): Promise<ImageInspect> {
  try {
    return await store.inspect(name);
  } catch (error) {
    if (!LayerstackError.is(error) || error.code !== 'ERR_IMAGE_NOT_FOUND') throw error;
    throw new HttpError(404, `No such image: ${displayName(name)}`, { cause: error });
  }
}

function displayName(name: string): string {
  return /^(?:sha256:)?[0-9a-f]{64}$/.test(name)
    ? name
    : formatReference(withDefaultTag(parseReference(name)));
}

/** layerstack itself needs none, but who starts the container does, and docker's clients expect to be told now. */
function requireCommand({ Entrypoint, Cmd }: ContainerConfig, { Config }: ImageInspect): void {
  const inherited = (key: 'Entrypoint' | 'Cmd'): number =>
    ((Config?.[key] ?? []) as readonly string[]).length;
  const none = Entrypoint?.length === 1 && Entrypoint[0] === '';
  const hasEntrypoint = !none && (Entrypoint === null ? inherited('Entrypoint') : Entrypoint.length) > 0;
  const hasCommand = (Cmd?.length ?? 0) > 0 || ((Entrypoint?.length ?? 0) === 0 && inherited('Cmd') > 0);
  if (!hasEntrypoint && !hasCommand) throw new HttpError(400, 'No command specified');
}

function warnings(hostConfig: HostConfig): string[] {
  const filled = (key: string): boolean => {
    const value = hostConfig[key];
    return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
  };
  const network = hostConfig['NetworkMode'] ?? '';
  return [
    ...(['', 'default', 'bridge', 'none', 'host'].some((known) => known === network)
      ? []
      : [`layerstack does no networking: the network ${String(network)} is not used`]),
    ...(['Binds', 'Mounts', 'VolumesFrom', 'Tmpfs'].some(filled)
      ? ['layerstack mounts no volumes: binds and mounts are kept for the runtime that starts the container']
      : []),
    ...(filled('PortBindings') ? ['layerstack does no networking: no ports are published'] : []),
  ];
}
