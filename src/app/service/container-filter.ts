/**
 * Which containers `GET /containers/json` lists: docker's filters, with docker's meaning.
 * Mirrors `moby/moby: daemon/list.go` at v20.10; filters of what layerstack never has (tasks, health) are answered by that.
 */
import { runInNewContext } from 'node:vm';
import { LayerstackError } from '../../core/errors.ts';
import { matchesLabels } from '../../core/labels.ts';
import type { ContainerState } from '../../container/record.ts';
import type { Layerstack } from '../layerstack.ts';
import type { ContainerFacts, ContainerSummary } from './container-summary.ts';
import { booleanFilter, type Filters } from './query.ts';
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

/** Patterns come from the client, and may be ones that take for ever. */
const MATCH_TIMEOUT_MS = 50;

export interface ListFilter {
  /** Those that fit, of all containers, newest first. */
  select(facts: readonly ContainerFacts[]): ContainerFacts[];
  /** What only a summary tells: networks, volumes. */
  matchesSummary(summary: ContainerSummary): boolean;
  /** Containers that do not run are meant, too. */
  readonly all: boolean;
}

/** @throws {@link HttpError} 400 for a value that makes no sense, 404 for a container that is not there. */
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
    select: (facts) => {
      const ids = matchPatterns(
        of('id'),
        facts.map(({ container }) => container.id),
      );
      const names = facts.map(({ container }) => container.name);
      // `^/name$` is as good as `^name$`.
      const bare = matchPatterns(of('name'), names);
      const slashed = matchPatterns(
        of('name'),
        names.map((name) => `/${name}`),
      );
      const place = (id: string | undefined): number =>
        facts.findIndex(({ container }) => container.id === id);
      const first = before === undefined ? 0 : place(before) + 1;
      const end = since === undefined ? facts.length : Math.max(0, place(since));
      return facts.filter(
        (each, index) =>
          index >= first && index < end && ids[index] && (bare[index] || slashed[index]) && matches(each),
      );
    },
    matchesSummary: ({ NetworkSettings, Mounts }) => {
      const networks = Object.entries(
        (NetworkSettings.Networks ?? {}) as Record<string, { NetworkID?: string }>,
      );
      const isIn = (wanted: string): boolean =>
        networks.some(([name, { NetworkID }]) => name === wanted || NetworkID === wanted);
      const has = (wanted: string): boolean =>
        Mounts.some(({ Name, Destination }) => Name === wanted || Destination === wanted);
      return (
        (of('network').length === 0 || of('network').some(isIn)) &&
        (of('volume').length === 0 || of('volume').some(has))
      );
    },
  };
}

/** The ids of these images and all that were built from them; what is no image has none. */
async function descendants(store: Layerstack, names: readonly string[]): Promise<Set<string>> {
  const images = await store.images({ all: true });
  const found = new Set<string>();
  const add = (id: string): void => {
    if (found.has(id)) return;
    found.add(id);
    for (const image of images) if (image.ParentId === id) add(image.Id);
  };
  for (const name of names) {
    const image = await store.inspect(name).catch((error: unknown) => {
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

/**
 * Of each text whether one of the patterns is it, or is an expression that is found in it. JavaScript's expressions can take
 * for ever where Go's cannot, so they have a time.
 */
function matchPatterns(patterns: readonly string[], texts: readonly string[]): boolean[] {
  if (patterns.length === 0) return texts.map(() => true);
  const expressions = patterns.map((pattern) => {
    try {
      return new RegExp(pattern);
    } catch {
      return undefined;
    }
  });
  const test = (text: string): boolean =>
    patterns.some((pattern, index) => pattern === text || expressions[index]?.test(text) === true);
  try {
    return runInNewContext('texts.map(test)', { texts, test }, { timeout: MATCH_TIMEOUT_MS }) as boolean[];
  } catch (error) {
    throw new HttpError(400, `the patterns ${patterns.join(', ')} take too long: give simpler ones`, {
      cause: error,
    });
  }
}

function invalid(name: string, value: string): never {
  throw new HttpError(400, `Invalid filter '${name}=${value}'`);
}
