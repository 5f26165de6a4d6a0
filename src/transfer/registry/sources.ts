/**
 * Sends reads to the mirrors in their order, then to the registry. After any failure of a mirror the next
 * source is asked. A mirror that is out of order, and does not merely lack the object, is not asked again.
 */
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import type { Logger } from '../../system/log.ts';
import type { Endpoint } from './endpoint.ts';

/** Errors of a working mirror: it does not have the object, denies access, or has no capacity now. */
const IN_ORDER: readonly ErrorCode[] = [
  'ERR_REGISTRY_NOT_FOUND',
  'ERR_REGISTRY_DENIED',
  'ERR_REGISTRY_LIMIT',
];

export class Sources {
  readonly #mirrors: Set<Endpoint>;
  readonly #origin: Endpoint;
  readonly #log: Logger;

  constructor(mirrors: readonly Endpoint[], origin: Endpoint, log: Logger) {
    this.#mirrors = new Set(mirrors);
    this.#origin = origin;
    this.#log = log;
  }

  /**
   * Returns the result of the first source that succeeds. Throws the registry's own error where none does.
   */
  async read<T>(
    { signal, origin }: { readonly signal?: AbortSignal | undefined; readonly origin?: boolean | undefined },
    work: (endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    for (const mirror of origin === true ? [] : [...this.#mirrors]) {
      try {
        return await work(mirror);
      } catch (error) {
        if (signal?.aborted || !LayerstackError.is(error)) throw error;
        this.#log.info('a mirror failed: the next source is asked', {
          mirror: mirror.label,
          error: error.message,
        });
        if (!IN_ORDER.includes(error.code)) this.#mirrors.delete(mirror);
      }
    }
    return work(this.#origin);
  }

  /** Passes a body on. If it breaks, its mirror is not used again. */
  async *watched(
    endpoint: Endpoint,
    body: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* body;
    } catch (error) {
      if (LayerstackError.is(error) && error.code !== 'ERR_ABORTED') this.distrust(endpoint);
      throw error;
    }
  }

  /**
   * Stops asking this source, if it is a mirror. Returns true if it was, because another source may have
   * better bytes.
   */
  distrust(endpoint: Endpoint): boolean {
    const isMirror = this.#mirrors.delete(endpoint);
    if (isMirror) this.#log.warn('a mirror sent bad bytes', { mirror: endpoint.label });
    return isMirror;
  }
}
