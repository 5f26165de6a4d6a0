/**
 * A service from its sockets to its end. It starts when its store is open. It stops in this order: it accepts
 * nothing new; running requests may finish for a while and are then aborted (which undoes their unfinished
 * changes); connections are closed; the store is closed; the socket files are removed. Mounts that users hold
 * stay: the kernel keeps them, and the next service finds them.
 */
import { once } from 'node:events';
import type { Server, ServerResponse } from 'node:http';
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import { Connections } from './connections.ts';
import type { ServiceContext } from './context.ts';
import { EventBus } from './events.ts';
import { HealthCheck } from './health.ts';
import { BACKLOG, closeSockets, type OpenedSocket } from './listen.ts';
import { refuseBrowsers } from './loopback-guard.ts';
import { Metrics } from './metrics.ts';
import { preload } from './preload.ts';
import { countPhases } from './phase-metrics.ts';
import { Layout } from '../../system/layout.ts';
import { watchScrub } from '../scrub-metrics.ts';
import { watchProcess } from './process-metrics.ts';
import { requestLog } from './request-log.ts';
import { ROUTES } from './routes/index.ts';
import { operationRoutes } from './routes/operations.ts';
import { ApiServer } from './server.ts';
import { watchStore } from './store-metrics.ts';

/** Time for aborted requests to undo their unfinished changes, and for the store to delete removed files. */
const UNWIND_MS = 10_000;
const STOPPING = 'this layerstack service is stopping: try again after its restart';

export interface ServiceOptions {
  readonly store: Layerstack;
  /** The service owns these and closes them. */
  readonly sockets: readonly OpenedSocket[];
  readonly log: Logger;
  /** Limit of each socket. Beyond it the longest idle connections are closed. */
  readonly maxConnections: number;
  /** @see ServiceContext.durableCreate */
  readonly durableCreate: boolean;
}

export class Service {
  readonly #store: Layerstack;
  readonly #log: Logger;
  readonly #sockets: readonly OpenedSocket[];
  readonly #servers: readonly Server[];
  readonly #api: ApiServer;
  readonly #connections: Connections;
  readonly #context: { -readonly [K in keyof ServiceContext]: ServiceContext[K] };
  /** Answers that are not completely sent yet. */
  readonly #answers = new Set<ServerResponse>();
  readonly #watches: readonly (() => void)[];
  #stopped: Promise<void> | undefined;

  private constructor({ store, sockets, log, maxConnections, durableCreate }: ServiceOptions) {
    this.#store = store;
    this.#log = log;
    this.#sockets = sockets;
    const metrics = new Metrics();
    const connections = new Connections(maxConnections);
    this.#connections = connections;
    const events = new EventBus();
    this.#watches = [events.follow(store), countPhases(metrics), watchProcess(metrics)];
    watchStore(metrics, store.root);
    watchScrub(metrics, new Layout(store.root));
    const health = new HealthCheck(store.root, store.readOnly);
    this.#context = { store, log, events, durableCreate };
    this.#api = new ApiServer(this.#context, [...operationRoutes(metrics, health), ...ROUTES], {
      onEnd: requestLog(log, metrics, connections),
      admit: (incoming) => {
        if (!connections.isLocal(incoming.socket)) refuseBrowsers(incoming);
      },
    });
    const open = metrics.gauge('layerstack_http_connections', 'Open connections.');
    const refused = metrics.counter(
      'layerstack_http_connections_refused_total',
      'Connections closed because there were too many.',
    );
    const active = metrics.gauge('layerstack_http_requests_in_flight', 'Requests that are being answered.');
    let seen = 0;
    metrics.before(() => {
      open.set(connections.open);
      active.set(this.#api.active);
      refused.add(connections.refused - seen);
      seen = connections.refused;
    });
    this.#servers = sockets.map(({ local }) => {
      const server = this.#api.createHttpServer();
      connections.track(server, local);
      for (const event of ['request', 'checkContinue'] as const)
        server.on(event, (_, answer) => this.#track(answer));
      return server;
    });
  }

  /**
   * Listens on all sockets. Resolves when clients can connect.
   * @throws a system error if a TCP port is taken; then only the store stays open.
   */
  static async start(options: ServiceOptions): Promise<Service> {
    const service = new Service(options);
    try {
      await preload();
      for (const [index, server] of service.#servers.entries()) {
        const listening = once(server, 'listening');
        // Set on the server, not as an option: Node ignores a backlog option for descriptors.
        server.listen({ ...options.sockets[index]?.options }, BACKLOG);
        await listening;
        server.on('error', (error) => options.log.error('a socket failed', { error }));
      }
      return service;
    } catch (error) {
      for (const watch of service.#watches) watch();
      const idle = options.sockets.filter((_, index) => service.#servers[index]?.listening !== true);
      for (const server of service.#servers) server.close();
      await closeSockets(idle);
      for (const { release } of options.sockets) await release();
      throw error;
    }
  }

  /** The addresses that the service listens on, with the ports that the kernel chose. */
  get addresses(): string[] {
    return this.#servers.map((server, index) => {
      const address = server.address();
      const name = this.#sockets[index]?.name ?? '';
      return typeof address === 'object' && address !== null && name.endsWith(':0')
        ? name.replace(/0$/, String(address.port))
        : name;
    });
  }

  set durableCreate(value: boolean) {
    this.#context.durableCreate = value;
  }

  set maxConnections(limit: number) {
    this.#connections.limit = limit;
  }

  /**
   * Ends the service and closes the store. Running requests have `timeoutMs` to finish, and some seconds more
   * to undo their changes. Never rejects; a second call waits for the first.
   */
  stop(timeoutMs: number): Promise<void> {
    return (this.#stopped ??= this.#stop(timeoutMs));
  }

  async #stop(timeoutMs: number): Promise<void> {
    this.#api.refuse(STOPPING);
    // Also closes idle connections.
    for (const server of this.#servers) server.close();
    if (!(await within(timeoutMs, this.#drained()))) {
      this.#log.warn('aborting the requests that still run', { requests: this.#api.active });
      if (!(await within(UNWIND_MS, this.#api.abort(new Error(STOPPING)))))
        this.#log.error('some requests do not end', { requests: this.#api.active });
    }
    for (const server of this.#servers) server.closeAllConnections();
    for (const watch of this.#watches) watch();
    const closed = this.#store
      .close({ signal: AbortSignal.abort(new Error(STOPPING)) })
      .catch((error: unknown) => this.#log.error('cannot close the store', { error }));
    if (!(await within(UNWIND_MS, closed)))
      this.#log.warn('some removed files are not deleted yet: the next writer deletes them');
    for (const { release, name } of this.#sockets)
      await release().catch((error: unknown) => this.#log.warn('cannot remove a socket', { name, error }));
  }

  #track(answer: ServerResponse): void {
    this.#answers.add(answer);
    answer.once('close', () => this.#answers.delete(answer));
  }

  /** Resolves when every answer is completely sent. */
  async #drained(): Promise<void> {
    await this.#api.drained();
    while (this.#answers.size > 0) {
      const [answer] = this.#answers;
      // Not events.once, which rejects when the answer emits an error.
      if (answer) await new Promise((resolve) => answer.once('close', resolve));
    }
  }
}

/** Whether `work` ends in time. */
async function within(timeoutMs: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), timeoutMs)));
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
