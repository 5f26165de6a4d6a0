/**
 * Where reads go: the mirrors in their order, then the registry. Whatever a mirror fails with, the next one is asked; one that is
 * out of order, and not just without the thing, is left out from then on.
 */
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import type { Logger } from '../../system/log.ts';
import type { Endpoint } from './endpoint.ts';

/** What a mirror in order may answer: it has not got it, gives it to others only, or not now. */
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

  /** What the first source that has it gives; the registry's own error where none does. */
  async read<T>(
    { signal, origin }: { readonly signal?: AbortSignal | undefined; readonly origin?: boolean | undefined },
    work: (endpoint: Endpoint) => Promise<T>,
  ): Promise<T> {
    for (const mirror of origin === true ? [] : [...this.#mirrors]) {
      try {
        return await work(mirror);
      } catch (error) {
        if (signal?.aborted || !LayerstackError.is(error)) throw error;
        this.#log.info('a mirror does not help', { mirror: mirror.label, error: error.message });
        if (!IN_ORDER.includes(error.code)) this.#mirrors.delete(mirror);
      }
    }
    return work(this.#origin);
  }

  /** A body that takes its mirror out of use when it breaks. */
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

  /** Does not ask this source again, if it is a mirror; then there are others, which may have better bytes. */
  distrust(endpoint: Endpoint): boolean {
    const isMirror = this.#mirrors.delete(endpoint);
    if (isMirror) this.#log.warn('a mirror sent bad bytes', { mirror: endpoint.label });
    return isMirror;
  }
}
