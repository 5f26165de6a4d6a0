/**
 * The query of `POST /build`. Mirrors `moby/moby: api/server/router/build/build_routes.go`
 * (newImageBuildOptions) at v20.10. `rm` and `forcerm` have no effect, because no container of a step stays.
 */
import type { BuildOptions } from '../../build/options.ts';
import * as json from '../../core/json.ts';
import { BUILD, notDone } from './not-implemented.ts';
import type { Query } from './query.ts';
import { HttpError } from './status.ts';

/** Limits of RUN: names in the query, and in docker's HostConfig. A zero means no limit. */
const NUMBERS = {
  ...{ memory: 'Memory', memswap: 'MemorySwap', cpushares: 'CpuShares', cpuperiod: 'CpuPeriod' },
  ...{ cpuquota: 'CpuQuota', shmsize: 'ShmSize' },
} as const;
const TEXTS = { cpusetcpus: 'CpusetCpus', cpusetmems: 'CpusetMems', cgroupparent: 'CgroupParent' } as const;

const names = json.map(json.string);
/** An argument without a value is one that the client's environment does not have. */
const argumentValues = json.map(json.optional(json.string));

/**
 * Returns the options of the build.
 * @throws {@link HttpError} 400 for an option that is malformed or unsupported, 501 for a build with BuildKit
 */
export function buildOptionsOf(query: Query): BuildOptions {
  refuseUnsupported(query);
  const args = [...(query.json('buildargs', argumentValues) ?? [])];
  return {
    dockerfile: query.text('dockerfile'),
    tags: query.all('t'),
    target: query.text('target'),
    buildArgs: Object.fromEntries(
      args.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    ),
    labels: Object.fromEntries(query.json('labels', names) ?? []),
    noCache: query.flag('nocache'),
    pull: query.flag('pull'),
    cacheFrom: query.json('cachefrom', json.array(json.string)),
    squash: query.flag('squash'),
    network: networkOf(query),
    platform: query.text('platform'),
    hostConfig: hostConfigOf(query),
  };
}

function refuseUnsupported(query: Query): void {
  if (query.text('version') === '2') throw notDone('build images with BuildKit', BUILD);
  const remote = query.text('remote');
  if (remote !== undefined)
    throw new HttpError(
      400,
      `remote=${remote} is not supported: send the build context as a tar in the body of the request`,
    );
  if (query.has('securityopt'))
    throw new HttpError(400, 'securityopt is not supported: RUN has the default security options');
  const isolation = query.text('isolation');
  if (isolation !== undefined && isolation !== 'default')
    throw new HttpError(400, `Unsupported isolation: ${JSON.stringify(isolation)}`);
}

/** RUN gets no network by default: the service has no bridge. */
function networkOf(query: Query): 'none' | 'host' {
  const mode = query.text('networkmode') ?? 'default';
  if (mode === 'default' || mode === 'none') return 'none';
  if (mode === 'host') return 'host';
  throw new HttpError(400, `networkmode=${mode} is not supported: use none or host`);
}

function hostConfigOf(query: Query): Record<string, unknown> {
  const numbers = Object.entries(NUMBERS).map(
    ([name, key]) => [key, query.integer(name) || undefined] as const,
  );
  const texts = Object.entries(TEXTS).map(([name, key]) => [key, query.text(name)] as const);
  const lists = [
    ['ExtraHosts', query.all('extrahosts')],
    ['Ulimits', query.json('ulimits', json.array(json.unknown)) ?? []],
  ] as const;
  return Object.fromEntries([
    ...[...numbers, ...texts].filter(([, value]) => value !== undefined),
    ...lists.filter(([, values]) => values.length > 0),
  ]);
}
