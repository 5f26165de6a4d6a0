/**
 * What systemd is told about the service (sd_notify(3)): datagrams to `NOTIFY_SOCKET`, and with `WATCHDOG_USEC` a sign of
 * life at half of that interval, sent by the event loop: a loop that hangs sends none, and systemd restarts the service.
 * Without these variables nothing is sent.
 */
import { native } from '../../system/native.ts';
import type { Logger } from '../../system/log.ts';

/** A shorter interval would do nothing but send; systemd's own is in seconds. */
const MIN_WATCHDOG_MS = 20;

/** Tells the service manager, if there is one. Every method returns at once and throws nothing. */
export class Notifier {
  readonly #address: string | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #log: Logger;
  #watchdog: NodeJS.Timeout | undefined;
  #failed = false;

  /** Takes the variables out of `env`, so that no child process speaks in this one's name. */
  constructor(env: NodeJS.ProcessEnv, log: Logger, pid = process.pid) {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) Reflect.deleteProperty(env, name);
    this.#log = log;
    if (NOTIFY_SOCKET !== undefined && /^[/@]./.test(NOTIFY_SOCKET)) this.#address = NOTIFY_SOCKET;
    else if (NOTIFY_SOCKET) log.warn('NOTIFY_SOCKET is no unix socket: the service manager is not told', {});
    if (
      WATCHDOG_USEC !== undefined &&
      /^\d{1,15}$/.test(WATCHDOG_USEC) &&
      [undefined, String(pid)].includes(WATCHDOG_PID)
    )
      this.#watchdogMs = Number(WATCHDOG_USEC) / 1000;
  }

  /** Clients can connect; `status` is what `systemctl status` shows. Begins the signs of life. */
  ready(status: string): void {
    this.#send('READY=1', `STATUS=${status}`, `MAINPID=${process.pid}`);
    if (this.#watchdogMs === undefined || this.#address === undefined) return;
    this.#watchdog ??= setInterval(
      () => this.#send('WATCHDOG=1'),
      Math.max(MIN_WATCHDOG_MS, Math.floor(this.#watchdogMs / 2)),
    ).unref();
  }

  /** Configuration is being read again; {@link ready} ends it. */
  reloading(): void {
    this.#send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(status: string): void {
    this.#send('STOPPING=1', `STATUS=${status}`);
  }

  status(status: string): void {
    this.#send(`STATUS=${status}`);
  }

  /** Ends the signs of life. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  #send(...lines: readonly string[]): void {
    if (this.#address === undefined) return;
    try {
      // A line of a status would be an assignment of its own.
      native.sendDatagram(this.#address, lines.map((line) => line.replaceAll('\n', ' ')).join('\n'));
      this.#failed = false;
    } catch (error) {
      if (!this.#failed)
        this.#log.warn('the service manager cannot be told', { error: (error as Error).message });
      this.#failed = true;
    }
  }
}
