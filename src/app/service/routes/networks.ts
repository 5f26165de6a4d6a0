/**
 * `networks`: stores names only, so that clients that create networks before containers (compose) find them
 * again. `bridge`, `host` and `none` always exist. Mirrors `moby/moby:
 * api/server/router/network/network_routes.go` and daemon/network.go at v28.
 */
import { createHash, randomBytes } from 'node:crypto';
import { matchesLabels } from '../../../core/labels.ts';
import * as json from '../../../core/json.ts';
import { Pace } from '../../../core/pace.ts';
import { compareTimes, parseTime, timeOf, ZERO_TIME } from '../../../core/time.ts';
import { parseTimestamp } from '../../../core/timestamp.ts';
import type { Container } from '../../../container/record.ts';
import type { NamedObject } from '../../../container/named-objects.ts';
import { LayerstackError } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { Route, ServiceContext } from '../context.ts';
import { matchPatterns } from '../patterns.ts';
import { booleanFilter, type Filters } from '../query.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { findContainer } from './container-name.ts';

const FILTERS = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];
const PRUNE_FILTERS = ['label', 'label!', 'until'];
/** The drivers that dockerd has without a plugin or a swarm, and that allow several networks. */
const DRIVERS = ['bridge', 'ipvlan', 'macvlan'];
const WARNING =
  'layerstack does no networking: it stores only the name of the network, for the runtime of the containers';

export const networkRoutes: readonly Route[] = [
  { method: 'GET', pattern: '/networks', handle: listNetworks },
  { method: 'POST', pattern: '/networks/create', handle: createNetwork },
  { method: 'POST', pattern: '/networks/prune', handle: pruneNetworks },
  { method: 'GET', pattern: '/networks/{name...}', handle: inspectNetwork },
  { method: 'DELETE', pattern: '/networks/{name...}', handle: removeNetwork },
  { method: 'POST', pattern: '/networks/{name...}/connect', handle: connect },
  { method: 'POST', pattern: '/networks/{name...}/disconnect', handle: disconnect },
];

/** Their ids depend only on the store's root, so they never change. */
function builtIn(store: Layerstack): NamedObject[] {
  return (['bridge', 'host', 'none'] as const).map((name) => ({
    Id: createHash('sha256').update(`${store.root}\0${name}`).digest('hex'),
    Name: name,
    Created: ZERO_TIME,
    Driver: name === 'none' ? 'null' : name,
    Labels: {},
    Options: {},
    More: {},
  }));
}

function isBuiltIn({ Created }: NamedObject): boolean {
  return Created === ZERO_TIME;
}

function all(store: Layerstack): NamedObject[] {
  return [...builtIn(store), ...store.networks.list()];
}

/** Finds a network by name, id, or the beginning of an id, in docker's order. */
function find(store: Layerstack, name: string): NamedObject {
  const networks = all(store);
  const exact = networks.find(({ Id }) => Id === name) ?? networks.find(({ Name }) => Name === name);
  if (exact) return exact;
  const matches = networks.filter(({ Id }) => Id.startsWith(name));
  if (matches.length > 1)
    throw new HttpError(
      400,
      `network ${name} is ambiguous (${matches.length} matches found based on ID prefix)`,
    );
  return matches[0] ?? missing(name);
}

function missing(name: string): never {
  throw new HttpError(404, `network ${name} not found`);
}

function shown(network: NamedObject, request: ApiRequest): unknown {
  const { Id, Name, Created, Driver, Labels, Options, More } = network;
  return {
    Name,
    Id,
    Created,
    Scope: 'local',
    Driver,
    ...(request.since('1.48') && { EnableIPv4: More['EnableIPv4'] ?? true }),
    EnableIPv6: More['EnableIPv6'] ?? false,
    IPAM: { Driver: 'default', Options: null, Config: [], ...(More['IPAM'] as object | undefined) },
    Internal: More['Internal'] ?? false,
    Attachable: More['Attachable'] ?? false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    // Docker lists running containers here.
    Containers: {},
    Options,
    Labels,
  };
}

async function listNetworks(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(FILTERS);
  const pace = new Pace(request.signal);
  const networks = all(store);
  const matching = async (filter: string, text: (network: NamedObject) => string): Promise<Set<string>> =>
    new Set(await matchPatterns(filters.get(filter) ?? [], networks.map(text), pace));
  const names = await matching('name', ({ Name }) => Name);
  const ids = await matching('id', ({ Id }) => Id);
  const fits = networkFilter(filters);
  const chosen = networks.filter((each) => names.has(each.Name) && ids.has(each.Id) && fits(each));
  sendJson(
    request,
    200,
    chosen.map((network) => shown(network, request)),
  );
}

function networkFilter(filters: Filters): (network: NamedObject) => boolean {
  const of = (name: string): readonly string[] => filters.get(name) ?? [];
  const isOne = (name: string, value: string): boolean => of(name).length === 0 || of(name).includes(value);
  const wrong = of('type').find((type) => type !== 'custom' && type !== 'builtin');
  if (wrong !== undefined) throw new HttpError(400, `invalid filter: 'type'='${wrong}'`);
  const dangling = booleanFilter(filters, 'dangling');
  return (network) =>
    isOne('driver', network.Driver) &&
    isOne('scope', 'local') &&
    isOne('type', isBuiltIn(network) ? 'builtin' : 'custom') &&
    // Networks have no running containers, so all except the built-in ones are dangling.
    (dangling === undefined || dangling === !isBuiltIn(network)) &&
    matchesLabels(network.Labels, { label: of('label') });
}

const texts = json.withDefault<ReadonlyMap<string, string>>(json.map(json.string), new Map());
const flag = json.withDefault(json.boolean, false);
const decodeCreate = json.object({
  Name: json.withDefault(json.string, ''),
  Driver: json.withDefault(json.string, ''),
  Labels: texts,
  Options: texts,
  EnableIPv4: json.optional(json.boolean),
  EnableIPv6: json.optional(json.boolean),
  Internal: flag,
  Attachable: flag,
  IPAM: json.optional(
    json.object({
      Driver: json.withDefault(json.string, 'default'),
      Options: json.optional(json.map(json.string)),
      Config: json.withDefault(json.array(json.map(json.unknown)), []),
    }),
  ),
});

async function createNetwork(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const body = await request.json(decodeCreate);
  const { Name, Driver, Labels, Options, IPAM, EnableIPv4, EnableIPv6, Internal, Attachable } = body;
  if (Name.trim() === '') throw new HttpError(400, 'invalid name: name is empty');
  if (Name === 'default' || builtIn(store).some((each) => each.Name === Name))
    throw new HttpError(403, `operation is not permitted on predefined ${Name} network `);
  const driver = Driver || 'bridge';
  if (driver === 'host' || driver === 'null')
    throw new HttpError(403, `only one instance of "${driver}" network is allowed`);
  if (driver === 'overlay') throw new HttpError(403, 'This node is not a swarm manager.');
  if (!DRIVERS.includes(driver)) throw new HttpError(404, `plugin "${driver}" not found`);
  const network: NamedObject = {
    Id: randomBytes(32).toString('hex'),
    Name,
    Created: timeOf().text,
    Driver: driver,
    Labels: Object.fromEntries(Labels),
    Options: Object.fromEntries(Options),
    More: {
      EnableIPv4: EnableIPv4 ?? true,
      EnableIPv6: EnableIPv6 ?? false,
      Internal,
      Attachable,
      IPAM: {
        Driver: IPAM?.Driver ?? 'default',
        Options: IPAM?.Options ? Object.fromEntries(IPAM.Options) : null,
        Config: (IPAM?.Config ?? []).map((config) => Object.fromEntries(config)),
      },
    },
  };
  const stored = await store.networks.add(network);
  if (stored.Id !== network.Id) throw new HttpError(409, `network with name ${Name} already exists`);
  sendJson(request, 201, { Id: network.Id, Warning: WARNING });
}

function inspectNetwork(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  sendJson(request, 200, shown(find(store, request.param('name')), request));
  return Promise.resolve();
}

async function removeNetwork(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const network = find(store, request.param('name'));
  if (isBuiltIn(network))
    throw new HttpError(403, `${network.Name} is a pre-defined network and cannot be removed`);
  const removed = await store.networks.remove(({ Id }) => Id === network.Id);
  if (removed.length === 0) missing(request.param('name'));
  sendEmpty(request, 204);
}

async function pruneNetworks(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const filters = request.query.filters(PRUNE_FILTERS);
  const [until, more] = filters.get('until') ?? [];
  if (more !== undefined) throw new HttpError(400, 'more than one until filter specified');
  const latest = until === undefined ? undefined : parseTimestamp('until', until);
  const labels = { label: filters.get('label'), notLabel: filters.get('label!') };
  const removed = await store.networks.remove(({ Created, Labels }) => {
    const created = parseTime(Created);
    const isOld = latest === undefined || (created !== undefined && compareTimes(created, latest) <= 0);
    return isOld && matchesLabels(Labels, labels);
  });
  sendJson(request, 200, { NetworksDeleted: removed.length === 0 ? null : removed.map(({ Name }) => Name) });
}

const decodeConnect = json.object({
  Container: json.withDefault(json.string, ''),
  EndpointConfig: json.withDefault<ReadonlyMap<string, unknown>>(json.map(json.unknown), new Map()),
});
const decodeDisconnect = json.object({ Container: json.withDefault(json.string, ''), Force: flag });

async function connect(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Container, EndpointConfig } = await request.json(decodeConnect);
  const container = await namedContainer(store, Container);
  const network = find(store, request.param('name'));
  if (network.Name === 'host')
    throw new HttpError(
      400,
      'cannot connect container to host network - container must be created in host network mode',
    );
  // The runtime of the container sets up the built-in networks.
  if (!isBuiltIn(network))
    await store.containers.connect(container, network.Name, Object.fromEntries(EndpointConfig));
  sendEmpty(request, 200);
}

async function disconnect(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Container, Force } = await request.json(decodeDisconnect);
  const container = await namedContainer(store, Container);
  const name = request.param('name');
  // A container may still refer to a network that was removed.
  const network = all(store).find((each) => each.Name === name || each.Id === name)?.Name ?? name;
  try {
    await store.containers.disconnect(container, network);
  } catch (error) {
    if (!LayerstackError.is(error, 'ERR_INVALID_ARGUMENT')) throw error;
    if (!Force) throw new HttpError(404, error.message, { cause: error });
  }
  sendEmpty(request, 200);
}

function namedContainer(store: Layerstack, name: string): Promise<Container> {
  if (name === '') throw new HttpError(400, 'invalid name or ID supplied: ""');
  return findContainer(name, store);
}
