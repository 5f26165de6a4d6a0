/**
 * Containers as file systems: list, inspect, size, rename, remove, prune, changes, export. Requests about
 * their processes are in container-process.ts. Mirrors `moby/moby:
 * api/server/router/container/container_routes.go` at v20.10.
 */
import type { ContainerInspect } from '../../../container/inspect.ts';
import type { Layerstack } from '../../layerstack.ts';
import { CONTAINER_FILTERS, containerFilter } from '../container-filter.ts';
import { ContainerSummaries, type ContainerFacts } from '../container-summary.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendJson, sendTar } from '../respond.ts';
import { HttpError } from '../status.ts';
import { badName, containerOf, isName, isRunning, nameError } from './container-name.ts';

const PRUNE_FILTERS = ['until', 'label', 'label!'];
/** The numbers of docker's API. */
const KINDS = { C: 0, A: 1, D: 2 } as const;

export const containerRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/containers/json', handle: listContainers },
  { method: 'POST', pattern: '/containers/prune', handle: pruneContainers },
  { method: 'GET', pattern: '/containers/{name}/json', handle: inspectContainer },
  { method: 'GET', pattern: '/containers/{name}/changes', handle: sendChanges },
  { method: 'GET', pattern: '/containers/{name}/export', handle: exportContainer },
  { method: 'POST', pattern: '/containers/{name}/rename', handle: renameContainer },
  { method: 'DELETE', pattern: '/containers/{name}', handle: removeContainer },
];

/**
 * Without `all`, lists running containers and mounted ones, because a mounted container is in use like a
 * running one.
 */
async function listContainers(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query } = request;
  const limit = query.integer('limit') ?? 0;
  const filter = await containerFilter(query.filters(CONTAINER_FILTERS), store);
  const all = query.flag('all') || limit > 0 || filter.all;
  const selected = await filter.select(await factsOf(store), request.signal);
  const chosen = selected.filter(({ container, mounted }) => all || mounted || isRunning(container));
  const summaries = await ContainerSummaries.of(store);
  const listed = [];
  for (const facts of chosen) {
    if (limit > 0 && listed.length === limit) break;
    const size = query.flag('size') ? await store.containers.size(facts.container) : undefined;
    const summary = await summaries.summary({ ...facts, size });
    if (filter.matchesSummary(summary)) listed.push(summary);
  }
  sendJson(request, 200, listed);
}

async function factsOf(store: Layerstack): Promise<ContainerFacts[]> {
  const facts: ContainerFacts[] = [];
  for (const container of await store.containers.list())
    facts.push({ container, mounted: await store.containers.isMounted(container) });
  return facts;
}

async function inspectContainer(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const container = await containerOf(request, store);
  const size = request.query.flag('size') ? await store.containers.size(container) : {};
  const inspected = await store.containers.inspect(container);
  sendJson(request, 200, { ...inspected, HostConfig: hostConfigFields(inspected, request), ...size });
}

/** Converts the fields to the API version of the request. */
function hostConfigFields({ HostConfig }: ContainerInspect, request: ApiRequest): Record<string, unknown> {
  return {
    ...(!request.since('1.42') && { KernelMemory: 0, KernelMemoryTCP: 0 }),
    ...HostConfig,
    ...(!request.since('1.43') && { Annotations: undefined }),
  };
}

async function sendChanges(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const changes = await store.containers.diff(await containerOf(request, store));
  const rows = changes.map(({ kind, path }) => ({ Path: path, Kind: KINDS[kind] }));
  sendJson(request, 200, rows.length === 0 ? null : rows);
}

async function exportContainer(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const container = await containerOf(request, store);
  await sendTar(request, store.containers.export(container, { signal: request.signal }));
}

async function renameContainer(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const name = request.query.text('name');
  if (name === undefined) throw new HttpError(400, 'Neither old nor new names may be empty');
  if (!isName(name)) throw new HttpError(400, `Error when allocating new name: ${badName(`/${name}`)}`);
  const container = await containerOf(request, store);
  if (name.replace(/^\//, '') === container.name)
    throw new HttpError(400, 'Renaming a container with the same name as its current name');
  try {
    await store.containers.rename(container, name);
  } catch (error) {
    throw nameError(error, name, 'Error when allocating new name: ');
  }
  sendEmpty(request, 204);
}

async function removeContainer(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, signal } = request;
  if (query.flag('link'))
    throw new HttpError(400, 'layerstack does no networking, so containers have no links to remove');
  // `v` asks to remove the anonymous volumes of the container; it has none.
  await store.containers.remove(await containerOf(request, store), { force: query.flag('force'), signal });
  sendEmpty(request, 204);
}

async function pruneContainers(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(PRUNE_FILTERS);
  const until = filters.get('until') ?? [];
  if (until.length > 1) throw new HttpError(400, 'more than one until filter specified');
  const result = await store.containers.prune(
    { until: until[0], label: filters.get('label'), notLabel: filters.get('label!') },
    { signal: request.signal },
  );
  const { ContainersDeleted: ids, SpaceReclaimed } = result;
  sendJson(request, 200, { ContainersDeleted: ids.length === 0 ? null : ids, SpaceReclaimed });
}
