/**
 * Selects the containers that `GET /containers/json` lists: docker's filters, with docker's meaning. Mirrors
 * `moby/moby: daemon/list.go` at v20.10. Containers of layerstack never have a task or a health check, and
 * filters for these answer accordingly.
 */
import { LayerstackError } from '../../core/errors.ts';
import { matchesLabels } from '../../core/labels.ts';
import { Pace } from '../../core/pace.ts';
import type { Container, ContainerState } from '../../container/record.ts';
import type { Layerstack } from '../layerstack.ts';
import type { ContainerFacts, ContainerSummary } from './container-summary.ts';
import { booleanFilter, type Filters } from './query.ts';
import { matchPatterns } from './patterns.ts';
import { findContainer } from './routes/container-name.ts';
import { HttpError } from './status.ts';

export const CONTAINER_FILTERS = [
  ...['ancestor', 'before', 'exited', 'expose', 'health', 'id', 'isolation', 'is-task', 'label', 'name'],
  ...['network', 'publish', 'since', 'status', 'volume'],
];

const STATES: readonly (ContainerState | 'removing')[] = [
  ...(['paused', 'restarting', 'removing', 'running', 'dead', 'created', 'exited'] as const),
];
const HEALTHS = ['starting', 'healthy', 'unhealthy', 'none'];

export interface ListFilter {
  /** Returns the containers that match, newest first. `facts` holds all containers. */
  select(facts: readonly ContainerFacts[], signal?: AbortSignal): Promise<ContainerFacts[]>;
  /** Checks the filters that need a summary: networks and volumes. */
  matchesSummary(summary: ContainerSummary): boolean;
  /** Whether the filters also ask for containers that do not run. */
  readonly all: boolean;
}

/**
 * @throws {@link HttpError} 400 for an invalid value, 404 for a container that does not exist.
 */
export async function containerFilter(filters: Filters, store: Layerstack): Promise<ListFilter> {
  const of = (name: string): readonly string[] => filters.get(name) ?? [];
  for (const state of of('status')) if (!STATES.some((known) => known === state)) invalid('status', state);
  for (const health of of('health')) if (!HEALTHS.includes(health)) invalid('health', health);
  const exits = of('exited').map((code) =>
    /^-?\d{1,9}$/.test(code) ? Number(code) : invalid('exited', code),
  );
  const [expose, publish] = [of('expose').map(portRange), of('publish').map(portRange)];
  const ancestors = of('ancestor').length > 0 ? await descendants(store, of('ancestor')) : undefined;
  const before = await lastContainer(of('before'), store);
  const since = await lastContainer(of('since'), store);
  const isTask = booleanFilter(filters, 'is-task');

  const matches = ({ container }: ContainerFacts): boolean =>
    (of('status').length === 0 || of('status').includes(container.state)) &&
    (of('health').length === 0 || of('health').includes('none')) &&
    (exits.length === 0 || (container.state === 'exited' && exits.includes(container.exitCode))) &&
    (ancestors === undefined || ancestors.has(container.imageId ?? '')) &&
    isTask !== true &&
    matchesLabels(Object.fromEntries(container.config.Labels ?? []), { label: of('label') }) &&
    publish.length === 0 &&
    (expose.length === 0 ||
      (container.config.ExposedPorts ?? []).some((port) => expose.some((fits) => fits(port))));

  return {
    all: of('status').length > 0,
    select: async (facts, signal) => {
      const pace = new Pace(signal);
      const matching = (name: string, text: (container: Container) => string): Promise<readonly string[]> =>
        matchPatterns(
          of(name),
          facts.map(({ container }) => text(container)),
          pace,
        );
      const ids = new Set(await matching('id', ({ id }) => id));
      const names = new Set([
        ...(await matching('name', ({ name }) => name)),
        // docker matches `^/name$` as well as `^name$`.
        ...(await matching('name', ({ name }) => `/${name}`)).map((name) => name.slice(1)),
      ]);
      const place = (id: string | undefined): number =>
        facts.findIndex(({ container }) => container.id === id);
      const first = before === undefined ? 0 : place(before) + 1;
      const end = since === undefined ? facts.length : Math.max(0, place(since));
      return facts.filter(
        (each, index) =>
          index >= first &&
          index < end &&
          ids.has(each.container.id) &&
          names.has(each.container.name) &&
          matches(each),
      );
    },
    matchesSummary: (summary) => hasNetworkAndVolume(summary, of('network'), of('volume')),
  };
}

/**
 * Returns whether a container has one of the networks, and one of the volumes. An empty list asks for none.
 */
function hasNetworkAndVolume(
  { NetworkSettings, Mounts }: ContainerSummary,
  networks: readonly string[],
  volumes: readonly string[],
): boolean {
  const joined = Object.entries((NetworkSettings.Networks ?? {}) as Record<string, { NetworkID?: string }>);
  const isIn = (wanted: string): boolean =>
    joined.some(([name, { NetworkID }]) => name === wanted || NetworkID === wanted);
  const has = (wanted: string): boolean =>
    Mounts.some(({ Name, Destination }) => Name === wanted || Destination === wanted);
  return (networks.length === 0 || networks.some(isIn)) && (volumes.length === 0 || volumes.some(has));
}

/**
 * Returns the ids of these images and of all images that were built from them. A name without an image adds
 * none.
 */
async function descendants(store: Layerstack, names: readonly string[]): Promise<Set<string>> {
  const images = await store.images.list({ all: true });
  const found = new Set<string>();
  const add = (id: string): void => {
    if (found.has(id)) return;
    found.add(id);
    for (const image of images) if (image.ParentId === id) add(image.Id);
  };
  for (const name of names) {
    const image = await store.images.inspect(name).catch((error: unknown) => {
      if (LayerstackError.is(error)) return undefined;
      throw error;
    });
    if (image !== undefined) add(image.Id);
  }
  return found;
}

async function lastContainer(names: readonly string[], store: Layerstack): Promise<string | undefined> {
  let id: string | undefined;
  for (const name of names) id = (await findContainer(name, store)).id;
  return id;
}

/** `80`, `80/udp`, `8000-8010/tcp` */
function portRange(text: string): (port: string) => boolean {
  const [, from, to = from, protocol = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(text) ?? [];
  if (from === undefined) throw new HttpError(400, `invalid port: ${JSON.stringify(text)}`);
  return (port) => {
    const [number = '', kind] = port.split('/');
    return kind === protocol && Number(number) >= Number(from) && Number(number) <= Number(to);
  };
}

function invalid(name: string, value: string): never {
  throw new HttpError(400, `Invalid filter '${name}=${value}'`);
}
