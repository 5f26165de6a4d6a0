/**
 * `volumes`: stores names only, as networks.ts does. Nothing is mounted, and a volume has no directory.
 * Mirrors `moby/moby: api/server/router/volume/volume_routes.go` and volume/service at v28.
 */
import { randomBytes } from 'node:crypto';
import * as json from '../../../core/json.ts';
import { matchesLabels } from '../../../core/labels.ts';
import { Pace } from '../../../core/pace.ts';
import { timeOf } from '../../../core/time.ts';
import type { NamedObject } from '../../../container/named-objects.ts';
import { requireVolumeName } from '../../../container/validate-mounts.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { Route, ServiceContext } from '../context.ts';
import { matchPatterns } from '../patterns.ts';
import { booleanFilter } from '../query.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';

const FILTERS = ['dangling', 'driver', 'label', 'name'];
const PRUNE_FILTERS = ['all', 'label', 'label!'];
/** docker's label of volumes that were created without a name. */
const ANONYMOUS = 'com.docker.volume.anonymous';

export const volumeRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/volumes', handle: listVolumes },
  { method: 'POST', pattern: '/volumes/create', handle: createVolume },
  { method: 'POST', pattern: '/volumes/prune', handle: pruneVolumes },
  { method: 'GET', pattern: '/volumes/{name}', handle: inspectVolume },
  { method: 'DELETE', pattern: '/volumes/{name}', handle: removeVolume },
];

function shown({ Name, Created, Driver, Labels, Options }: NamedObject): Record<string, unknown> {
  return {
    CreatedAt: Created,
    Driver,
    Labels: Object.keys(Labels).length === 0 ? null : Labels,
    Mountpoint: '',
    Name,
    Options: Object.keys(Options).length === 0 ? null : Options,
    Scope: 'local',
  };
}

/** Lists volumes as `GET /system/df` does. */
export async function volumeUsage(store: Layerstack): Promise<unknown[]> {
  const users = await volumeUsers(store);
  return store.volumes
    .list()
    .map((volume) => ({ ...shown(volume), UsageData: { RefCount: users(volume).length, Size: 0 } }));
}

/** Returns a function that lists the ids of the containers that mount a volume. */
async function volumeUsers(store: Layerstack): Promise<(volume: NamedObject) => readonly string[]> {
  const users: (readonly [string, ReadonlySet<unknown>])[] = [];
  for (const container of await store.containers.list()) {
    const { Mounts } = await store.containers.inspect(container);
    users.push([container.id, new Set(Mounts.map((mount) => mount['Name']))]);
  }
  return ({ Name }) => users.filter(([, names]) => names.has(Name)).map(([id]) => id);
}

function find(store: Layerstack, name: string): NamedObject {
  const found = store.volumes.list().find(({ Name }) => Name === name);
  if (found) return found;
  throw new HttpError(404, `get ${name}: no such volume`);
}

async function listVolumes(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(FILTERS);
  const of = (name: string): readonly string[] => filters.get(name) ?? [];
  const volumes = store.volumes.list();
  const names = new Set(
    await matchPatterns(
      of('name'),
      volumes.map(({ Name }) => Name),
      new Pace(request.signal),
    ),
  );
  const dangling = booleanFilter(filters, 'dangling');
  const users = dangling === undefined ? undefined : await volumeUsers(store);
  const chosen = volumes.filter(
    (volume) =>
      names.has(volume.Name) &&
      (of('driver').length === 0 || of('driver').includes(volume.Driver)) &&
      (users === undefined || (users(volume).length === 0) === dangling) &&
      matchesLabels(volume.Labels, { label: of('label') }),
  );
  sendJson(request, 200, { Volumes: chosen.map(shown), Warnings: [] });
}

const texts = json.withDefault<ReadonlyMap<string, string>>(json.map(json.string), new Map());
const decodeCreate = json.object({
  Name: json.withDefault(json.string, ''),
  Driver: json.withDefault(json.string, ''),
  Labels: texts,
  DriverOpts: texts,
});

async function createVolume(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Name, Driver, Labels, DriverOpts } = await request.json(decodeCreate);
  if (Driver !== '' && Driver !== 'local') throw new HttpError(404, `plugin "${Driver}" not found`);
  if (Name !== '') requireVolumeName(Name);
  const name = Name || randomBytes(32).toString('hex');
  const stored = await store.volumes.add({
    Id: name,
    Name: name,
    Created: timeOf().text,
    Driver: 'local',
    Labels: { ...(Name === '' && { [ANONYMOUS]: '' }), ...Object.fromEntries(Labels) },
    Options: Object.fromEntries(DriverOpts),
    More: {},
  });
  sendJson(request, 201, shown(stored));
}

function inspectVolume(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  sendJson(request, 200, shown(find(store, request.param('name'))));
  return Promise.resolve();
}

async function removeVolume(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const name = request.param('name');
  const isForced = request.query.flag('force');
  const volume = store.volumes.list().find(({ Name }) => Name === name);
  if (volume === undefined && !isForced) find(store, name);
  const users = volume === undefined ? [] : (await volumeUsers(store))(volume);
  if (users.length > 0) throw new HttpError(409, `remove ${name}: volume is in use - [${users.join(', ')}]`);
  await store.volumes.remove(({ Name }) => Name === name);
  sendEmpty(request, 204);
}

/** Removes unused volumes. Since 1.42, named volumes are removed only if the request asks for `all`. */
async function pruneVolumes(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(PRUNE_FILTERS);
  const wantsNamed = !request.since('1.42') || booleanFilter(filters, 'all') === true;
  const labels = { label: filters.get('label'), notLabel: filters.get('label!') };
  const users = await volumeUsers(store);
  const removed = await store.volumes.remove(
    (volume) =>
      users(volume).length === 0 &&
      (wantsNamed || Object.hasOwn(volume.Labels, ANONYMOUS)) &&
      matchesLabels(volume.Labels, labels),
  );
  sendJson(request, 200, { VolumesDeleted: removed.map(({ Name }) => Name), SpaceReclaimed: 0 });
}
