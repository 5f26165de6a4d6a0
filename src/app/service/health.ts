/**
 * Checks whether the service can do its work: the store's root can be written (or read, if opened read-only)
 * in reasonable time. The answer itself shows that the event loop turns. Concurrent requests share one check.
 */
import { access, constants } from 'node:fs/promises';
import { Layout } from '../../system/layout.ts';
import { call, native } from '../../system/native.ts';

const PATIENCE_MS = 5_000;
/** A result is reused for this time. */
const FRESH_MS = 1_000;

export interface Health {
  readonly healthy: boolean;
  /** The result of each check, in words. */
  readonly checks: Readonly<Record<string, string>>;
}

export class HealthCheck {
  readonly #layout: Layout;
  readonly #readOnly: boolean;
  #looking: Promise<string> | undefined;
  #latest: { readonly found: string; readonly at: number } | undefined;

  constructor(root: string, readOnly: boolean) {
    this.#layout = new Layout(root);
    this.#readOnly = readOnly;
  }

  /** Never rejects. */
  async check(): Promise<Health> {
    const store = await this.#store();
    return { healthy: store === 'ok', checks: { store } };
  }

  async #store(): Promise<string> {
    if (this.#latest && performance.now() - this.#latest.at < FRESH_MS) return this.#latest.found;
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`${this.#layout.root} does not answer`), PATIENCE_MS);
    });
    const found = await Promise.race([this.#looking, patience]);
    clearTimeout(timer);
    return found;
  }

  async #look(): Promise<string> {
    const { root, own } = this.#layout;
    let found = 'ok';
    try {
      if (this.#readOnly) await access(root, constants.R_OK | constants.X_OK);
      else {
        const path = `${own}/health-${process.pid}`;
        await call(
          native.batch(root, [
            { op: 'mkdir', path: own, mode: 0o700, exist: true },
            { op: 'unlink', path, missing: true },
            { op: 'write', path, data: String(process.pid), mode: 0o600 },
            { op: 'unlink', path, missing: true },
          ]),
        );
      }
    } catch (error) {
      found = (error as Error).message;
    }
    this.#latest = { found, at: performance.now() };
    return found;
  }
}
