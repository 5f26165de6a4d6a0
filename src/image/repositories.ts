/**
 * repositories.json on disk, and the files that change with it. Every change reads the file under the
 * `references` lock and replaces it as a whole, so that processes never undo each other's changes. The images
 * of a change come or go in the same step (system/changes.ts), so a crash leaves the old state of both or the
 * new one.
 *
 * The names of packed images are in a file of their own, `layerstack/packed/repositories.json`, because
 * dockerd does not have these images. Both files are read as one; where both have a name, Docker's file
 * counts. A change writes each name to the file of its image's form.
 */
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { ChangeStep } from '../system/changes.ts';
import { REFERENCES_KEY } from '../system/lock.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { ImageDb } from './imagedb.ts';
import {
  MAX_REFERENCES_BYTES,
  parseReferences,
  type MutableReferences,
  type References,
} from './references.ts';

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

/** A file of names that cannot be read. */
export interface DamagedFile {
  readonly path: string;
  readonly message: string;
}

/** The references of one root. */
export class Repositories {
  readonly #root: Root;

  readonly #db: ImageDb;

  constructor(root: Root, db = new ImageDb(root)) {
    this.#root = root;
    this.#db = db;
  }

  /**
   * Returns a copy of all references that are on disk now.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the file is empty or not JSON.
   */
  async read(): Promise<MutableReferences> {
    return (await this.#parse()).references;
  }

  /** Returns those of the two files that cannot be read, as paths relative to the root, and why. */
  async damaged(): Promise<DamagedFile[]> {
    const { repositories, packedRepositories } = this.#root.layout;
    const damaged: DamagedFile[] = [];
    for (const path of [repositories, packedRepositories]) {
      try {
        await this.#file(path);
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
        damaged.push({ path, message: error.message });
      }
    }
    return damaged;
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
      const { references, packed: packedBefore, classicText, packedText } = await this.#parse();
      const draft: ChangeDraft = { beforeNames: [], afterNames: [] };
      const result = await edit(references, draft);
      const packed = this.#takePacked(references, packedBefore, draft);
      const names = [
        ...rewritten(layout.repositories, classicText, references.serialize()),
        ...rewritten(layout.packedRepositories, packedText, packed.serialize()),
      ];
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

  /** Moves the names of packed images out of `references`, into a set of their own. */
  #takePacked(references: MutableReferences, before: References, draft: ChangeDraft): Parsed {
    const { layout } = this.#root;
    const packed = parseReferences(undefined, layout.packedRepositories);
    const written = new Set(
      [...draft.beforeNames, ...draft.afterNames].flatMap(({ op, path }) => (op === 'write' ? path : [])),
    );
    const isPacked = (id: ImageID): boolean | undefined => {
      if (written.has(layout.imageContent(id))) return false;
      if (written.has(layout.packedImageContent(id))) return true;
      const form = this.#db.formOf(id);
      return form && form === 'packed';
    };
    for (const [id, list] of references.byImage()) {
      const here = isPacked(id);
      if (here === false) continue;
      for (const reference of list) {
        if (here === undefined && before.get(reference) !== id) continue;
        packed.set(reference, id);
        references.delete(reference);
      }
    }
    return packed;
  }

  async #parse(): Promise<{
    /** The names in both files. */
    readonly references: Parsed;
    readonly packed: Parsed;
    readonly classicText: string;
    readonly packedText: string;
  }> {
    const { repositories, packedRepositories } = this.#root.layout;
    const [references, packed] = await Promise.all([
      this.#file(repositories),
      this.#file(packedRepositories),
    ]);
    const [classicText, packedText] = [references.serialize(), packed.serialize()];
    for (const [id, list] of packed.byImage())
      for (const reference of list)
        if (references.get(reference) === undefined) references.set(reference, id);
    return { references, packed, classicText, packedText };
  }

  async #file(path: string): Promise<Parsed> {
    const { layout, changes } = this.#root;
    return parseReferences(await changes.read(path, MAX_REFERENCES_BYTES), layout.at(path));
  }
}

type Parsed = ReturnType<typeof parseReferences>;

function rewritten(path: string, before: string, data: string): ChangeStep[] {
  return data === before ? [] : [{ op: 'write', path, data }];
}
