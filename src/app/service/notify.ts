/**
 * Notifications to systemd (sd_notify(3)): datagrams to `NOTIFY_SOCKET`. With `WATCHDOG_USEC` the event loop
 * also sends a keep-alive message at half of that interval. A loop that hangs sends none, and systemd
 * restarts the service. Without these variables nothing is sent.
 */
import { native } from '../../system/native.ts';
import type { Logger } from '../../system/log.ts';

/**
 * The least interval: a shorter one would keep the loop busy with sending. systemd's own intervals are in
 * seconds.
 */
const MIN_WATCHDOG_MS = 20;

/** Notifies the service manager, if there is one. Every method returns at once and never throws. */
export class Notifier {
  readonly #address: string | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #log: Logger;
  #watchdog: NodeJS.Timeout | undefined;
  #failed = false;

  /** Removes the variables from `env`, so that a child process cannot notify in the name of this one. */
  constructor(env: NodeJS.ProcessEnv, log: Logger, pid = process.pid) {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) Reflect.deleteProperty(env, name);
    this.#log = log;
    if (NOTIFY_SOCKET !== undefined && /^[/@]./.test(NOTIFY_SOCKET)) this.#address = NOTIFY_SOCKET;
    else if (NOTIFY_SOCKET)
      log.warn('NOTIFY_SOCKET is not a unix socket: the service manager gets no notifications', {});
    if (
      WATCHDOG_USEC !== undefined &&
      /^\d{1,15}$/.test(WATCHDOG_USEC) &&
      [undefined, String(pid)].includes(WATCHDOG_PID)
    )
      this.#watchdogMs = Number(WATCHDOG_USEC) / 1000;
  }

  /** Reports that clients can connect. `systemctl status` shows `status`. Starts the keep-alive messages. */
  ready(status: string): void {
    this.#send('READY=1', `STATUS=${status}`, `MAINPID=${process.pid}`);
    if (this.#watchdogMs === undefined || this.#address === undefined) return;
    this.#watchdog ??= setInterval(
      () => this.#send('WATCHDOG=1'),
      Math.max(MIN_WATCHDOG_MS, Math.floor(this.#watchdogMs / 2)),
    ).unref();
  }

  /** Reports that the configuration is being read again. The next {@link ready} ends that state. */
  reloading(): void {
    this.#send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(status: string): void {
    this.#send('STOPPING=1', `STATUS=${status}`);
  }

  status(status: string): void {
    this.#send(`STATUS=${status}`);
  }

  /** Ends the keep-alive messages. */
  close(): void {
    clearInterval(this.#watchdog);
  }

  #send(...lines: readonly string[]): void {
    if (this.#address === undefined) return;
    try {
      // A newline in a status would start another assignment.
      native.sendDatagram(this.#address, lines.map((line) => line.replaceAll('\n', ' ')).join('\n'));
      this.#failed = false;
    } catch (error) {
      if (!this.#failed)
        this.#log.warn('cannot notify the service manager', { error: (error as Error).message });
      this.#failed = true;
    }
  }
}
