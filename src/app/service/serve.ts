/**
 * A whole run of the service, as `layerstack serve` and systemd start it: sockets, store, log, settings,
 * signals, and notifications to the service manager. The sockets are opened before the store, so that a
 * second service is refused before it touches anything, and early clients wait instead of failing.
 */
import { once } from 'node:events';
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import { packageVersion } from '../../system/package-version.ts';
import { takeInheritedSockets } from './activation.ts';
import { groupId } from './groups.ts';
import { DEFAULT_HOST, parseHost, type Host } from './hosts.ts';
import { Service } from './lifecycle.ts';
import { closeSockets, openSockets, type OpenedSocket } from './listen.ts';
import { LogFile } from './log-file.ts';
import { ServiceLog, type LogFormat } from './logs.ts';
import { Notifier } from './notify.ts';
import { keepResponsive } from './responsive.ts';
import {
  DEFAULT_SETTINGS,
  DEFAULT_SETTINGS_FILE,
  readServiceSettings,
  type ServiceSettings,
} from './settings.ts';

export interface ServeOptions {
  /** Empty: the sockets that systemd passed, or else the default socket. */
  readonly hosts: readonly string[];
  readonly group?: string | undefined;
  /** Settings from the command line. They override the file. */
  readonly settings: ServiceSettings;
  readonly logFormat?: LogFormat | undefined;
  readonly logFile?: string | undefined;
  /** Settings file; the default one may be missing. */
  readonly config?: string | undefined;
}

export interface ServeContext {
  /** Ends the service. */
  readonly signal: AbortSignal;
  open(log: Logger): Promise<Layerstack>;
}

const STDOUT = 1;
/** The process does not wait longer for log lines that cannot be written. */
const FLUSH_MS = 1_000;

/**
 * Serves until the signal fires, then stops.
 * @throws {@link LayerstackError} before it serves: errors of `parseHost`, `openSockets`, the settings and
 *   opening the store.
 */
export async function serve(context: ServeContext, options: ServeOptions): Promise<void> {
  const inherited = takeInheritedSockets(process.env);
  const settings = new Settings(options);
  await settings.read();
  const hosts = chooseHosts(options.hosts, inherited.length > 0);
  const gid = options.group === undefined ? undefined : await groupId(options.group);
  const file = new LogFile(options.logFile ?? STDOUT);
  const log = new ServiceLog({
    level: settings.current.logLevel,
    format: options.logFormat ?? 'json',
    write: (line) => file.write(line),
  });
  if (inherited.length > 0 && !hosts.some(({ kind }) => kind === 'fd'))
    log.warn('systemd passed sockets, but no --host fd:// names them: the service does not listen on them');
  keepResponsive(log);
  const notifier = new Notifier(process.env, log);
  // Before it serves, and after, the service has nothing to read again; without a handler SIGHUP would end
  // the process.
  const ignore = (): void => undefined;
  process.on('SIGHUP', ignore);
  try {
    const service = await start(await openSockets(hosts, { gid, inherited }), context, log, settings.current);
    await untilStopped(service, { context, log, file, notifier, settings });
  } finally {
    notifier.close();
    await Promise.race([file.flush(), sleepUnreferenced(FLUSH_MS)]);
    process.off('SIGHUP', ignore);
  }
}

async function start(
  sockets: readonly OpenedSocket[],
  context: ServeContext,
  log: ServiceLog,
  { maxConnections, durableCreate }: Settings['current'],
): Promise<Service> {
  let store: Layerstack;
  try {
    store = await context.open(log);
  } catch (error) {
    await closeSockets(sockets);
    throw error;
  }
  try {
    return await Service.start({ store, sockets, log, maxConnections, durableCreate });
  } catch (error) {
    await store.close();
    throw error;
  }
}

interface Running {
  readonly context: ServeContext;
  readonly log: ServiceLog;
  readonly file: LogFile;
  readonly notifier: Notifier;
  readonly settings: Settings;
}

async function untilStopped(service: Service, running: Running): Promise<void> {
  const { context, log, notifier, settings } = running;
  const status = `Serving on ${service.addresses.join(', ')}`;
  const hangUp = (): void => {
    if (!context.signal.aborted) void reload(service, running).finally(ready);
  };
  const ready = (): void => {
    // A service that is stopping must not report that it is ready.
    if (!context.signal.aborted) notifier.ready(status);
  };
  process.on('SIGHUP', hangUp);
  log.info('serving', { version: packageVersion(), pid: process.pid, hosts: service.addresses.join(' ') });
  for (const name of service.addresses.filter((each) => each.startsWith('tcp:')))
    log.warn('every user of this machine can connect to a TCP port and act as root', { host: name });
  ready();
  try {
    if (!context.signal.aborted) await once(context.signal, 'abort');
    const seconds = settings.current.shutdownTimeoutSeconds;
    log.info('stopping', {
      why: String((context.signal.reason as Error | undefined)?.message),
      timeoutSeconds: seconds,
    });
    notifier.stopping('Finishing requests');
    await service.stop(seconds * 1000);
    log.info('stopped');
  } finally {
    process.off('SIGHUP', hangUp);
  }
}

/** Reads the settings again and reopens the log file. If a read fails, the old settings stay. */
async function reload(service: Service, { log, file, notifier, settings }: Running): Promise<void> {
  notifier.reloading();
  try {
    await file.reopen();
    await settings.read();
    log.level = settings.current.logLevel;
    service.maxConnections = settings.current.maxConnections;
    service.durableCreate = settings.current.durableCreate;
    log.info('settings read again', { ...settings.current });
  } catch (error) {
    log.error('the settings are unchanged', { error });
  }
}

function chooseHosts(texts: readonly string[], activated: boolean): Host[] {
  if (texts.length > 0) return texts.map(parseHost);
  return activated ? [{ kind: 'fd' }] : [parseHost(DEFAULT_HOST)];
}

/** The settings: the command line overrides the file, and the file overrides the defaults. */
class Settings {
  readonly #options: ServeOptions;
  #file: ServiceSettings = {};

  constructor(options: ServeOptions) {
    this.#options = options;
  }

  async read(): Promise<void> {
    const { config } = this.#options;
    this.#file =
      config === undefined
        ? await readServiceSettings(DEFAULT_SETTINGS_FILE, {})
        : await readServiceSettings(config);
  }

  get current(): Required<{ [K in keyof ServiceSettings]: NonNullable<ServiceSettings[K]> }> {
    const { settings } = this.#options;
    return {
      logLevel: settings.logLevel ?? this.#file.logLevel ?? DEFAULT_SETTINGS.logLevel,
      maxConnections: settings.maxConnections ?? this.#file.maxConnections ?? DEFAULT_SETTINGS.maxConnections,
      shutdownTimeoutSeconds:
        settings.shutdownTimeoutSeconds ??
        this.#file.shutdownTimeoutSeconds ??
        DEFAULT_SETTINGS.shutdownTimeoutSeconds,
      durableCreate: settings.durableCreate ?? this.#file.durableCreate ?? DEFAULT_SETTINGS.durableCreate,
    };
  }
}

function sleepUnreferenced(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
