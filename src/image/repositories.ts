/**
 * repositories.json on disk, and the files that change with it. Every change reads the file under the
 * `references` lock and replaces it as a whole, so that processes never undo each other's changes. The images
 * of a change come or go in the same step (system/changes.ts), so a crash leaves the old state of both or the
 * new one.
 */
import type { ChangeStep } from '../system/changes.ts';
import { REFERENCES_KEY } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { MAX_REFERENCES_BYTES, parseReferences, type MutableReferences } from './references.ts';

const MARKERS: readonly Marker[] = ['references.change'];

/**
 * The files that change in one step with the names. After a crash, dockerd does not know about pending
 * changes and sees only those files that are in place. So the files are renamed in an order in which each
 * image is always complete.
 */
export interface ChangeDraft {
  readonly beforeNames: ChangeStep[];
  readonly afterNames: ChangeStep[];
}

export interface ChangeOptions {
  /** Aborts the wait for the lock. */
  readonly signal?: AbortSignal | undefined;
  /** Runs when the change is done. It can no longer fail, so an error is logged. */
  readonly afterwards?: () => Promise<void>;
}

/** The references of one root. */
export class Repositories {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /**
   * Returns a copy of all references that are on disk now.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the file is empty or not JSON.
   */
  async read(): Promise<MutableReferences> {
    return this.#parse();
  }

  /**
   * Lets `edit` change the references and name the other changes, and makes all of them as one. They are
   * durable on return, and nothing changes when it throws. Until it returns, also during `afterwards`, no
   * other process changes references or images.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT as {@link read}; ERR_STORE_READ_ONLY; ERR_NO_SPACE.
   */
  async change<T>(
    edit: (references: MutableReferences, draft: ChangeDraft) => T | Promise<T>,
    { signal, afterwards }: ChangeOptions = {},
  ): Promise<T> {
    const session = this.#root.session();
    const { changes, layout, locks, log } = this.#root;
    const lock = await locks.acquire('references', REFERENCES_KEY, { signal });
    try {
      await session.mark(MARKERS);
      await changes.complete();
      const references = await this.#parse();
      const before = references.serialize();
      const draft: ChangeDraft = { beforeNames: [], afterNames: [] };
      const result = await edit(references, draft);
      const data = references.serialize();
      const names: ChangeStep[] = data === before ? [] : [{ op: 'write', path: layout.repositories, data }];
      await changes.commit([...draft.beforeNames, ...names, ...draft.afterNames]);
      await afterwards?.().catch((error: unknown) =>
        log.warn('done, but temporary files may be left', { error }),
      );
      return result;
    } catch (error) {
      throw spaceError(error, layout.root);
    } finally {
      // If a marker cannot be removed, the change still holds, and the next writer removes the marker.
      await session
        .unmark(MARKERS)
        .catch((error: unknown) => log.warn('a marker stays for the next writer', { error }));
      await lock.release();
    }
  }

  async #parse(): Promise<ReturnType<typeof parseReferences>> {
    const { layout, changes } = this.#root;
    const bytes = await changes.read(layout.repositories, MAX_REFERENCES_BYTES);
    return parseReferences(bytes, layout.at(layout.repositories));
  }
}
