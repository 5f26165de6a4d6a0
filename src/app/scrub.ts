/**
 * A scrub: a pass over the whole store that reads all content at a bounded rate, and continues where an
 * earlier process stopped. It finds what `fsck --deep` finds, and repairs nothing. `layerstack/scrub.json`
 * has the place of the current pass and the result of the last one. It is written after each layer, also by a
 * store that is open read-only: a scrub works beside a running dockerd, and the file is layerstack's own.
 */
import { constants } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../core/abort.ts';
import { digestOfHex, hexOf, chainIdOf, type ChainID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Problem, StoreFinding } from '../core/store-finding.ts';
import { checkContent } from '../layer/check-content.ts';
import { completeLayers } from '../layer/check.ts';
import { checkPacked } from '../layer/packed/check.ts';
import { packedIds, packedSize } from '../layer/packed/entry.ts';
import { untilPlanted } from '../system/check-entries.ts';
import { flockFile } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import { openStoreFile } from '../system/store-files.ts';
import { fsck, withoutRepair, type FsckStores } from './fsck.ts';
import { readScrub, writeScrub, type ScrubPass, type ScrubStatus } from './scrub-status.ts';

export interface ScrubOptions {
  /** The most bytes of content that are read in a second. Default: no bound. */
  readonly rate?: number | undefined;
  /** Begins a new pass, also where an earlier one was interrupted. Default false. */
  readonly restart?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Yields each finding as soon as it is found. The pass is complete when the iteration ends. After an abort or
 * a kill, the next scrub continues the pass after the last layer that was read to its end.
 * @throws {@link LayerstackError} ERR_STORE_LOCKED while another scrub reads the store,
 *   ERR_INVALID_ARGUMENT for a rate that is not a whole number above 0, ERR_ABORTED.
 */
export async function* scrub(
  stores: FsckStores,
  { rate, restart = false, signal }: ScrubOptions,
): AsyncGenerator<StoreFinding, void, undefined> {
  const { root } = stores;
  if (rate !== undefined && (!Number.isSafeInteger(rate) || rate < 1))
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `rate is ${String(rate)}; give whole bytes a second`, {
      key: 'options.rate',
    });
  await using _alone = await holdAlone(root);
  const status = await readScrub(root.layout);
  const run = new Run(root, status, restart ? null : status.pass);
  if (run.isNew) {
    for await (const finding of fsck(stores, { signal })) yield run.found(finding);
    await run.save();
  }
  for (const { chainId, size, check } of await work(stores, { rate, signal })) {
    throwIfAborted(signal);
    if (run.isDone(chainId)) continue;
    for await (const problem of untilPlanted(check())) yield run.found(withoutRepair(problem));
    await run.passed(chainId, size);
  }
  await run.end();
}

/** A layer that is to be read. */
interface Work {
  readonly chainId: ChainID;
  readonly size: number;
  check(): AsyncGenerator<Problem>;
}

/** Returns the layers in the order of their ids, which does not change from one process to the next. */
async function work(
  { root, layers }: FsckStores,
  { rate, signal }: Pick<ScrubOptions, 'rate' | 'signal'>,
): Promise<Work[]> {
  // Nothing is repaired, so nothing is guarded.
  const guard = (): Promise<AsyncDisposable> => Promise.reject(new Error('a scrub repairs nothing'));
  const repairs = { renew: layers.renew.bind(layers) };
  const classic = (await completeLayers(root)).map((layer) => ({
    chainId: layer.chainId,
    size: layer.size,
    check: () => checkContent(root, layer, { guard, layers: repairs, rate, signal }),
  }));
  const packed = (await packedIds(root.layout)).map((chainId) => {
    const size = packedSize(root.layout, chainId) ?? 0;
    return { chainId, size, check: () => checkPackedSlowly(root, chainId, { size, rate, signal }) };
  });
  return [...classic, ...packed].sort((a, b) => (a.chainId < b.chainId ? -1 : 1));
}

/** Checks a packed layer, and then waits for as long as the reading should have taken. */
async function* checkPackedSlowly(
  root: Root,
  chainId: ChainID,
  { size, rate, signal }: Pick<ScrubOptions, 'rate' | 'signal'> & { readonly size: number },
): AsyncGenerator<Problem> {
  const began = performance.now();
  yield* checkPacked(root, { deep: true, only: chainId, signal });
  const left = rate === undefined ? 0 : (size / rate) * 1000 - (performance.now() - began);
  if (left > 0) await sleep(left, undefined, { signal }).catch(() => throwIfAborted(signal));
}

/** One run of a process over a pass. */
class Run {
  readonly isNew: boolean;
  readonly #root: Root;
  readonly #status: ScrubStatus;
  #pass: ScrubPass;
  #readBytes: number;

  constructor(root: Root, status: ScrubStatus, pass: ScrubPass | null) {
    this.#root = root;
    this.#status = status;
    this.isNew = pass === null;
    this.#pass = pass ?? { began: Date.now(), after: '', layers: 0, bytes: 0, error: 0, warning: 0, note: 0 };
    this.#readBytes = status.readBytes;
  }

  isDone(chainId: ChainID): boolean {
    return this.#pass.after !== '' && chainId <= chainIdOf(digestOfHex(this.#pass.after));
  }

  /** Counts a finding. */
  found(finding: StoreFinding): StoreFinding {
    const { severity } = finding;
    this.#pass = { ...this.#pass, [severity]: this.#pass[severity] + 1 };
    return finding;
  }

  /** Notes that a layer was read to its end. */
  async passed(chainId: ChainID, size: number): Promise<void> {
    const { layers, bytes } = this.#pass;
    this.#pass = { ...this.#pass, after: hexOf(chainId), layers: layers + 1, bytes: bytes + size };
    this.#readBytes += size;
    await this.save();
  }

  save(): Promise<void> {
    return this.#write({ ...this.#status, pass: this.#pass, readBytes: this.#readBytes });
  }

  end(): Promise<void> {
    const { began, layers, bytes, error, warning, note } = this.#pass;
    const last = { began, ended: Date.now(), layers, bytes, error, warning, note };
    return this.#write({ pass: null, last, readBytes: this.#readBytes });
  }

  async #write(status: ScrubStatus): Promise<void> {
    try {
      await writeScrub(this.#root.layout, status);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#root.log.warn('the place of the scrub could not be written, so a kill makes it start again', {
        error,
      });
    }
  }
}

/** Excludes other scrubs of the store. A read-only file system does not need the lock. */
async function holdAlone({ layout }: Root): Promise<AsyncDisposable> {
  const path = layout.at(layout.scrubLock);
  try {
    const lock = await flockFile(await openStoreFile(path, constants.O_RDWR | constants.O_CREAT), true);
    if (lock !== null) return lock;
  } catch (error) {
    // A root of dockerd alone has no directory of layerstack yet.
    if (isSystemError(error, 'ENOENT', 'EROFS')) return { [Symbol.asyncDispose]: () => Promise.resolve() };
    throw error;
  }
  throw new LayerstackError(
    'ERR_STORE_LOCKED',
    `another scrub reads the store ${layout.root}: wait until it ends, or stop it`,
    { path },
  );
}
