/**
 * Docker's requests about the process of a container. No container here has one. Where dockerd's answer for
 * such a container is complete, the answer is the same (`stop` has nothing to do, `kill` has no target).
 * Where a client wants a process, the answer names an alternative. Mirrors `moby/moby:
 * api/server/router/container/{container_routes,exec}.go` at v28.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as json from '../../../core/json.ts';
import { isSignal } from '../../../core/signals.ts';
import type { Container } from '../../../container/record.ts';
import { LayerstackError } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { Route, ServiceContext } from '../context.ts';
import { notDone, RUN } from '../not-implemented.ts';
import type { ApiRequest } from '../request.ts';
import { sendEmpty, sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { readPast } from '../upgrade.ts';
import { containerOf, isRunning } from './container-name.ts';

/** Interval of the checks whether another process has removed a container. */
const LOOK_MS = 1000;
const RAW_STREAM = 'application/vnd.docker.raw-stream';
const CONDITIONS = ['not-running', 'next-exit', 'removed'];

const post = (action: string, handle: Route['handle'], more: Partial<Route> = {}): Route => ({
  method: 'POST',
  pattern: `/containers/{name}/${action}`,
  handle,
  ...more,
});
const get = (action: string, handle: Route['handle'], more: Partial<Route> = {}): Route => ({
  ...post(action, handle, more),
  method: 'GET',
});

export const containerProcessRoutes: readonly Route[] = [
  post('start', start),
  post('restart', start),
  post('stop', stop),
  post('kill', kill),
  post('pause', wantProcess),
  post('unpause', unpause),
  post('resize', resize),
  post('wait', wait, { endless: true }),
  post('attach', attach, { endless: true, upgrades: true }),
  post('exec', createExec),
  get('top', wantProcess),
  get('logs', showLogs),
  get('stats', showStats, { endless: true }),
  { method: 'GET', pattern: '/exec/{id}/json', handle: missingExec },
  { method: 'POST', pattern: '/exec/{id}/{action}', handle: missingExec },
];

const runsNone = (): HttpError => notDone('run containers', RUN);

/** As dockerd, removes a container that cannot start if it has AutoRemove (`docker run --rm`). */
async function start(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const container = await containerOf(request, store);
  if (isRunning(container) && request.path.endsWith('/start')) {
    sendEmpty(request, 304);
    return;
  }
  const { HostConfig } = await store.containers.inspect(container);
  if (
    HostConfig['AutoRemove'] === true &&
    !isRunning(container) &&
    !(await store.containers.isMounted(container))
  )
    await store.containers.remove(container, { signal: request.signal });
  throw runsNone();
}

async function stop(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  request.query.integer('t');
  if (isRunning(await containerOf(request, store))) throw runsNone();
  sendEmpty(request, 304);
}

async function kill(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const signal = request.query.text('signal') ?? 'KILL';
  if (!isSignal(signal)) throw new HttpError(400, `Invalid signal: ${signal}`);
  const before = `Cannot kill container: ${request.param('name')}: `;
  const container = await containerOf(request, store).catch((error: unknown) => {
    if (error instanceof HttpError)
      throw new HttpError(error.status, before + error.message, { cause: error });
    throw error;
  });
  requireProcess(container, before);
}

/**
 * @throws {@link HttpError} always: 409 if docker would say that the container does not run, else 501
 */
function requireProcess(container: Container, before = '', after = ''): never {
  if (isRunning(container)) throw runsNone();
  throw new HttpError(409, `${before}Container ${container.id} is not running${after}`);
}

async function wantProcess(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  requireProcess(await containerOf(request, store));
}

async function unpause(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { id, state } = await containerOf(request, store);
  if (state === 'paused') throw runsNone();
  throw new HttpError(409, `Container ${id} is not paused`);
}

async function resize(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  for (const side of ['h', 'w'])
    if (request.query.integer(side) === undefined) throw new HttpError(400, `the query has no ${side}`);
  requireProcess(await containerOf(request, store));
}

const decodeExec = json.object({ Cmd: json.optional(json.array(json.string)) });

async function createExec(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Cmd = [] } = await request.json(decodeExec);
  if (Cmd.length === 0) throw new HttpError(400, 'No exec command specified');
  requireProcess(await containerOf(request, store), '', `: ${runsNone().message}`);
}

function missingExec(request: ApiRequest): Promise<void> {
  return Promise.reject(new HttpError(404, `No such exec instance: ${request.param('id')}`));
}

/** The log of a container that never ran is empty. */
async function showLogs(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, response } = request;
  if (!query.flag('stdout') && !query.flag('stderr'))
    throw new HttpError(400, 'Bad parameters: you must choose at least one stream');
  const { state, config } = await containerOf(request, store);
  if (state !== 'created') throw notDone('store the output of containers');
  response
    .writeHead(200, { 'Content-Type': config.Tty ? RAW_STREAM : 'application/vnd.docker.multiplexed-stream' })
    .end();
}

/**
 * Sends the statistics of a container without a process: once, or as a stream that ends when the container is
 * removed.
 */
async function showStats(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const container = await containerOf(request, store);
  if (isRunning(container)) throw runsNone();
  const { response, query } = request;
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.write(`${JSON.stringify(noStats(container))}\n`);
  if (query.flag('stream', true)) await untilRemoved(store, container, request.signal);
  response.end();
}

function noStats({ id, name }: Container): unknown {
  const never = '0001-01-01T00:00:00Z';
  const cpu = {
    cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
    throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
  };
  const blkio = ['service_bytes', 'serviced', 'queue', 'service_time', 'wait_time', 'merged', 'time'];
  return {
    name: `/${name}`,
    id,
    read: never,
    preread: never,
    pids_stats: {},
    blkio_stats: {
      ...Object.fromEntries(blkio.map((counter) => [`io_${counter}_recursive`, null])),
      sectors_recursive: null,
    },
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpu,
    precpu_stats: cpu,
    memory_stats: {},
  };
}

async function wait(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const condition = request.query.text('condition') ?? 'not-running';
  if (!CONDITIONS.includes(condition)) throw new HttpError(400, `invalid condition: "${condition}"`);
  const container = await containerOf(request, store);
  const ended = { ...(!request.since('1.42') && { Error: null }), StatusCode: container.exitCode };
  if (condition === 'not-running' && !isRunning(container)) {
    sendJson(request, 200, ended);
    return;
  }
  // Clients start or remove the container when they have the headers of the answer.
  request.response.writeHead(200, { 'Content-Type': 'application/json' }).flushHeaders();
  await untilRemoved(store, container, request.signal);
  request.response.end(`${JSON.stringify(ended)}\n`);
}

/**
 * Holds the connection until the container is removed or the client disconnects. It has no output to send,
 * and no process reads its input.
 */
async function attach(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { query, response } = request;
  const container = await containerOf(request, store);
  if (isRunning(container)) throw runsNone();
  const socket = request.asksToUpgrade ? request.takeOver('tcp', { 'Content-Type': RAW_STREAM }) : undefined;
  if (socket === undefined) {
    response.shouldKeepAlive = false;
    response.writeHead(200, { 'Content-Type': RAW_STREAM }).flushHeaders();
  }
  if (socket !== undefined) readPast(socket);
  if (query.flag('stream')) await untilRemoved(store, container, request.signal);
  if (socket === undefined) response.end();
}

/** Resolves when the container is removed, or the signal fires. */
async function untilRemoved(store: Layerstack, { id }: Container, signal: AbortSignal): Promise<void> {
  const looking = new AbortController();
  const stop = (): void => looking.abort();
  const forget = store.onEvent((event) => {
    if (event.type === 'container' && event.action === 'destroy' && event.id === id) stop();
  });
  signal.addEventListener('abort', stop, { once: true });
  try {
    while (!signal.aborted && !looking.signal.aborted && (await isThere(store, id)))
      await sleep(LOOK_MS, undefined, { signal: looking.signal, ref: false }).catch(() => undefined);
  } finally {
    forget();
    signal.removeEventListener('abort', stop);
  }
}

async function isThere(store: Layerstack, id: string): Promise<boolean> {
  try {
    await store.containers.get(id);
    return true;
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_CONTAINER_NOT_FOUND')) return false;
    throw error;
  }
}
