/**
 * `POST /containers/create`: creates a container from docker's config and host config. The container's bundle
 * carries the host config. For each key that a bundle cannot carry the answer has a warning, as docker's
 * clients expect. Mirrors `moby/moby: daemon/{create,container}.go` at v20.10, including checks and texts.
 */
import { commandOf, mergedConfig } from '../../../container/config.ts';
import { CREATE_BODY } from '../../../container/docker-types.ts';
import type { Endpoints } from '../../../container/documents.ts';
import { unsupportedText, type Unsupported } from '../../../container/spec/unsupported.ts';
import type { HostConfig } from '../../../container/store.ts';
import { validateCreate } from '../../../container/validate.ts';
import * as json from '../../../core/json.ts';
import { decodeContainerConfig, type ContainerConfig } from '../../../image/container-config.ts';
import type { ImageInspect } from '../../../image/store.ts';
import type { Route, ServiceContext } from '../context.ts';
import { requirePlatform } from '../image-platform.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { badName, isName, nameError } from './container-name.ts';

interface CreateBody {
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  readonly endpoints: Endpoints;
}

const object = json.withDefault<ReadonlyMap<string, unknown>>(json.map(json.unknown), new Map());
const decodeHost = json.object({
  HostConfig: object,
  NetworkingConfig: json.optional(
    json.object({
      EndpointsConfig: json.withDefault<ReadonlyMap<string, ReadonlyMap<string, unknown>>>(
        json.map(object),
        new Map(),
      ),
    }),
  ),
});

const decodeBody: json.Decoder<CreateBody> = (value, path) => {
  const { HostConfig, NetworkingConfig } = decodeHost(value, path);
  const endpoints = [...(NetworkingConfig?.EndpointsConfig ?? [])];
  return {
    config: decodeContainerConfig(value, path),
    hostConfig: Object.fromEntries(HostConfig),
    endpoints: Object.fromEntries(endpoints.map(([name, each]) => [name, Object.fromEntries(each)])),
  };
};

export const containerCreateRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/containers/create', handle: createContainer },
];

async function createContainer(
  request: ApiRequest,
  { store, durableCreate: durable }: ServiceContext,
): Promise<void> {
  const { query, signal } = request;
  const { config, hostConfig, endpoints } = await request.json(decodeBody, CREATE_BODY);
  if (config.Image === '') throw new HttpError(400, 'Config cannot be empty in order to create a container');
  await validateCreate(config, hostConfig);
  const name = query.text('name');
  if (name !== undefined && !isName(name)) throw new HttpError(400, badName(name));
  const image = await store.images.inspect(config.Image);
  requirePlatform(config.Image, image, query.text('platform'));
  requireCommand(config, image);
  const warnings: string[] = [];
  const options = {
    ...{ config, hostConfig, endpoints, imageName: config.Image, name, durable, signal },
    ignoreUnsupported: true,
    onUnsupported: (unsupported: Unsupported) => warnings.push(unsupportedText(unsupported)),
  };
  const container = await store.containers.create(image.Id, options).catch((error: unknown) => {
    throw nameError(error, name ?? '');
  });
  sendJson(request, 201, { Id: container.id, Warnings: warnings });
}

/**
 * layerstack needs no command, but the runtime that starts the container does, and docker's clients expect
 * the error now.
 */
function requireCommand(given: ContainerConfig, { Config }: ImageInspect): void {
  const merged = mergedConfig('', { config: decodeContainerConfig(Config ?? {}, '') }, given);
  if (commandOf(merged).length === 0) throw new HttpError(400, 'No command specified');
}
