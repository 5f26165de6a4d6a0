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
import { dirname } from 'node:path';
import type { ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import type { Reference } from '../core/reference.ts';
import { DONE_BUT } from '../system/aftermath.ts';
import type { ChangeStep } from '../system/changes.ts';
import { REFERENCES_KEY } from '../system/lock.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { isPlanted, statEntry } from '../system/store-files.ts';
import { ImageDb } from './imagedb.ts';
import { isOldEnough, markOf } from './file-mark.ts';
import { NamesCopy, type RebuiltNames } from './names-copy.ts';
import {
  MAX_REFERENCES_BYTES,
  parseReferences,
  REBUILD,
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

/** A file of names as it was read. */
interface KnownFile {
  /** Its state at that time. */
  readonly mark: string;
  readonly names: References;
}

/**
 * The content of a file that is no larger than this stays in memory. A name takes some 150 bytes in the file.
 */
const MAX_KNOWN_BYTES = 4 * 1024 * 1024;

/** The references of one root. */
export class Repositories {
  readonly #root: Root;

  readonly #db: ImageDb;

  readonly #copy: NamesCopy;

  readonly #known = new Map<string, KnownFile>();

  constructor(root: Root, db = new ImageDb(root)) {
    this.#root = root;
    this.#db = db;
    this.#copy = new NamesCopy(root);
  }

  /**
   * Returns a copy of all references that are on disk now.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the file is empty or not JSON.
   */
  async read(): Promise<MutableReferences> {
    return (await this.#parse()).references;
  }

  /**
   * Returns the image that `reference` names; undefined for an unknown name. A file that is unchanged since
   * the last call is not read again.
   * @throws {@link LayerstackError} as {@link read}.
   */
  async find(reference: Reference): Promise<ImageID | undefined> {
    for (const path of this.#paths()) {
      const id = (await this.#unchanged(path)).get(reference);
      if (id !== undefined) return id;
    }
    return undefined;
  }

  async #unchanged(path: string): Promise<References> {
    const { changes, layout } = this.#root;
    const file = statEntry(layout.at(path));
    const mark = file && isOldEnough(file.ctimeMs) ? markOf(file) : undefined;
    if (mark === undefined || file === undefined || changes.pending() !== undefined) return this.#file(path);
    const known = this.#known.get(path);
    if (known?.mark === mark) return known.names;
    const names = await this.#file(path);
    if (file.size <= MAX_KNOWN_BYTES) this.#known.set(path, { mark, names });
    return names;
  }

  /**
   * Returns the references that can be read. A damaged file gives none, and a warning: its images are shown
   * without names.
   */
  async readable(): Promise<References> {
    const files = await this.#examine();
    for (const { damage } of files)
      if (damage)
        this.#root.log.warn(`${DONE_BUT}images are shown without their names`, {
          path: damage.path,
          error: damage.message,
        });
    const [references = parseReferences(undefined, ''), packed] = files.flatMap(({ names }) => names ?? []);
    if (packed) addMissing(references, packed);
    return references;
  }

  /** Returns those of the two files that cannot be read, as paths relative to the root, and why. */
  async damaged(): Promise<DamagedFile[]> {
    return (await this.#examine()).flatMap(({ damage }) => damage ?? []);
  }

  /** Reads each of the two files once. */
  async #examine(): Promise<{ readonly names?: Parsed; readonly damage?: DamagedFile }[]> {
    const examine = async (path: string): Promise<{ names: Parsed } | { damage: DamagedFile }> => {
      try {
        return { names: await this.#file(path) };
      } catch (error) {
        if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
        if (isPlanted(error) && error.path !== this.#root.layout.at(path)) throw error;
        return { damage: { path, message: error.message } };
      }
    };
    return Promise.all(this.#paths().map(examine));
  }

  /** Returns the names that {@link restore} would write. */
  rebuilt(path: string): Promise<RebuiltNames> {
    return this.#copy.rebuild(path, (id) => this.#db.has(id));
  }

  /**
   * Writes a damaged or missing file of names again. The old one is kept beside it, with a name that ends in
   * `.broken`. Durable on return.
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY; system errors.
   */
  async restore(path: string): Promise<void> {
    this.#root.session();
    const { changes, layout, locks } = this.#root;
    await using _lock = await locks.acquire('references', REFERENCES_KEY);
    await changes.complete();
    const wrong = await this.damaged();
    if (wrong.every((file) => file.path !== path)) return;
    const text = (await this.rebuilt(path)).names.serialize();
    const aside = `${path}.${new Date().toISOString().replace(/[:.]/g, '-')}.broken`;
    const isThere = statEntry(layout.at(path)) !== undefined;
    await call(
      native.batch(layout.root, [
        { op: 'write', path: aside, data: text, mode: 0o600, sync: true },
        isThere
          ? { op: 'exchange', from: aside, to: path, via: `${aside}.old` }
          : { op: 'rename', from: aside, to: path, noReplace: true },
        { op: 'fsync', path: dirname(path) },
      ]),
    );
    await this.#copy.keep(path, text);
  }

  /** Copies files of names that another program has written since their copies were made. */
  async refreshCopies(): Promise<void> {
    if (!this.#paths().some((path) => this.#copy.isBehind(path))) return;
    try {
      await this.change(() => undefined);
    } catch (error) {
      const isExpected =
        LayerstackError.is(error, 'ERR_STORE_CORRUPT', 'ERR_NO_SPACE') || isSystemError(error);
      if (!isExpected) throw error;
      this.#root.log.warn('the names of images cannot be copied', { error });
    }
  }

  #paths(): readonly string[] {
    const { repositories, packedRepositories } = this.#root.layout;
    return [repositories, packedRepositories];
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
        { path: layout.repositories, before: classicText, data: references.serialize() },
        { path: layout.packedRepositories, before: packedText, data: packed.serialize() },
      ].map((file) => ({ ...file, isChanged: file.data !== file.before }));
      const written = names.filter(({ isChanged }) => isChanged);
      await changes.commit([
        ...draft.beforeNames,
        ...written.map(({ path, data }): ChangeStep => ({ op: 'write', path, data })),
        ...draft.afterNames,
      ]);
      for (const { path, data, isChanged } of names)
        if (isChanged || this.#copy.isBehind(path)) await this.#copy.keep(path, data);
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
    addMissing(references, packed);
    return { references, packed, classicText, packedText };
  }

  /** Returns whether a missing file had names of images that the store has. */
  async #isLost(path: string): Promise<boolean> {
    const names = [...((await this.#copy.read(path))?.byImage().keys() ?? [])];
    return names.some((id) => this.#db.has(id));
  }

  async #file(path: string): Promise<Parsed> {
    const { layout, changes } = this.#root;
    try {
      const text = await changes.read(path, MAX_REFERENCES_BYTES);
      if (text === undefined && (await this.#isLost(path))) throw missing(layout.at(path));
      return parseReferences(text, layout.at(path));
    } catch (error) {
      const isOther = isPlanted(error) && error.path === layout.at(path);
      throw isOther || isSystemError(error, 'EISDIR') ? notAFile(layout.at(path), error) : error;
    }
  }
}

type Parsed = ReturnType<typeof parseReferences>;

/** Adds the names of packed images that Docker's file does not have. */
function addMissing(references: Parsed, packed: Parsed): void {
  for (const [id, list] of packed.byImage())
    for (const reference of list) if (references.get(reference) === undefined) references.set(reference, id);
}

/** Returns the error for a file of names that had names of images, and is missing. */
function missing(path: string): LayerstackError {
  return new LayerstackError('ERR_STORE_CORRUPT', `${path} is missing; ${REBUILD}`, { path });
}

/** Returns the error for an object other than a file in the place of a file of names. */
function notAFile(path: string, cause: Error): LayerstackError {
  const found = LayerstackError.is(cause) ? cause.found : 'a directory';
  const what = found === undefined ? 'not a file' : String(found);
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${path} is ${what}, where the store has a file; ${REBUILD}`,
    {
      ...{ path, expected: 'a file', found: what, cause },
    },
  );
}
