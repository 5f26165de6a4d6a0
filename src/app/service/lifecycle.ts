/**
 * A service from its sockets to its end. It starts when its store is open, and stops in this order: nothing new is accepted,
 * what is under way may finish for a while and is then aborted (which takes back what it has half done), connections are closed, the
 * store is closed, the sockets' files go. Mounts that users have stay: the kernel holds them, and the next service finds them.
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
import { watchProcess } from './process-metrics.ts';
import { requestLog } from './request-log.ts';
import { ROUTES } from './routes/index.ts';
import { operationRoutes } from './routes/operations.ts';
import { ApiServer } from './server.ts';
import { watchStore } from './store-metrics.ts';

/** For aborted work to take back what it has half done, and for the store to delete what was removed. */
const UNWIND_MS = 10_000;
const STOPPING = 'this layerstack service is stopping: try again when it is back';

export interface ServiceOptions {
  readonly store: Layerstack;
  /** Become the service's. */
  readonly sockets: readonly OpenedSocket[];
  readonly log: Logger;
  /** Of each socket; beyond it the longest idle ones are closed. */
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
  /** Answers that are not sent to their end. */
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
      'Connections closed since there were too many.',
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
   * @throws a system error where a TCP port is taken; then nothing is left open but the store.
   */
  static async start(options: ServiceOptions): Promise<Service> {
    const service = new Service(options);
    try {
      await preload();
      for (const [index, server] of service.#servers.entries()) {
        const listening = once(server, 'listening');
        // Not as an option: Node does not heed that one for descriptors.
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

  /** Where it really listens: ports that were chosen by the kernel included. */
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
   * Ends the service and closes the store: within `timeoutMs` for what is under way and some seconds for it to be taken back.
   * Never rejects; a second call waits for the first.
   */
  stop(timeoutMs: number): Promise<void> {
    return (this.#stopped ??= this.#stop(timeoutMs));
  }

  async #stop(timeoutMs: number): Promise<void> {
    this.#api.refuse(STOPPING);
    // Also closes the connections on which nothing is asked.
    for (const server of this.#servers) server.close();
    if (!(await within(timeoutMs, this.#drained()))) {
      this.#log.warn('aborting what is still under way', { requests: this.#api.active });
      if (!(await within(UNWIND_MS, this.#api.abort(new Error(STOPPING)))))
        this.#log.error('some requests do not end', { requests: this.#api.active });
    }
    for (const server of this.#servers) server.closeAllConnections();
    for (const watch of this.#watches) watch();
    const closed = this.#store
      .close()
      .catch((error: unknown) => this.#log.error('closing the store', { error }));
    if (!(await within(UNWIND_MS, closed)))
      this.#log.warn('removed files are not all deleted yet: the next writer goes on with it');
    for (const { release, name } of this.#sockets)
      await release().catch((error: unknown) => this.#log.warn('a socket stays', { name, error }));
  }

  #track(answer: ServerResponse): void {
    this.#answers.add(answer);
    answer.once('close', () => this.#answers.delete(answer));
  }

  /** Resolves when every request has had all of its answer. */
  async #drained(): Promise<void> {
    await this.#api.settled();
    while (this.#answers.size > 0) {
      const [answer] = this.#answers;
      // Not events.once, which fails when the answer does.
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
