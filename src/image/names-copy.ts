/**
 * The last good copies of the files of names: the bytes of repositories.json (and of the packed one) when it
 * was last known to be readable. layerstack makes the copy after each of its changes. dockerd writes
 * repositories.json too. So a writer that opens the root makes the copy again if the file is newer. A copy
 * that is older than the last start of dockerd may lack changes by dockerd.
 *
 * A damaged file is rebuilt from the names that can still be read in it, then from the copy. A name counts
 * only if imagedb has its image.
 */
import { isDigest, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, type Reference } from '../core/reference.ts';
import type { StoreEntry } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { readStoreFile, statEntry } from '../system/store-files.ts';
import {
  MAX_REFERENCES_BYTES,
  parseReferences,
  type MutableReferences,
  type References,
  type Written,
} from './references.ts';

/** Rebuilt names, and their sources. */
export interface RebuiltNames {
  readonly names: MutableReferences & Written;
  /** The number of names that the damaged file still has. */
  readonly salvaged: number;
  /** The number of names that only the copy has. */
  readonly copied: number;
  /** The number of names in the file or copy whose image is not in the store. */
  readonly dropped: number;
  /** dockerd has started since the copy was made. */
  readonly isOld: boolean;
}

/** A whole entry of the file: a name and an image. */
const ENTRY = /"((?:[^"\\\n]|\\.){1,1024})":\s*"(sha256:[0-9a-f]{64})"/g;
/** A larger damaged file is not searched for names: no host has so many. */
const MAX_SALVAGED_BYTES = 64 * 1024 * 1024;

export class NamesCopy {
  readonly #root: Root;

  constructor(root: Root) {
    this.#root = root;
  }

  /** Keeps the text of a file of names that is known to be good. A failure is logged: the old copy stays. */
  async keep(path: string, text: string): Promise<void> {
    try {
      await this.#root
        .session()
        .replace([{ op: 'replace', path: copyOf(path), data: text, mode: 0o600, sync: false }]);
    } catch (error) {
      this.#root.log.debug('the copy of the names could not be written', { path, error: String(error) });
    }
  }

  /** Returns whether the file was written after its copy. */
  isBehind(path: string): boolean {
    const [file, copy] = [this.#file(path), this.#file(copyOf(path))];
    if (file === undefined || copy === undefined) return file !== undefined;
    // Both are often written within one tick of the kernel's clock.
    return copy.ctimeMs < file.ctimeMs || (copy.ctimeMs === file.ctimeMs && copy.size !== file.size);
  }

  /** Returns the names of the copy; undefined where it is missing or damaged. */
  async read(path: string): Promise<References | undefined> {
    const at = this.#root.layout.at(copyOf(path));
    try {
      const bytes = await readStoreFile(at, MAX_REFERENCES_BYTES);
      return bytes && parseReferences(bytes, at);
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
      return undefined;
    }
  }

  /**
   * Rebuilds the names of a damaged or missing file.
   * @param has - whether imagedb has an image
   */
  async rebuild(path: string, has: (id: ImageID) => boolean): Promise<RebuiltNames> {
    const names = parseReferences(undefined, this.#root.layout.at(path));
    const counts = { salvaged: 0, copied: 0, dropped: 0 };
    const add = (reference: Reference, id: ImageID, source: 'salvaged' | 'copied'): void => {
      if (names.get(reference) !== undefined) return;
      if (!isDigest(id) || !has(id)) counts.dropped++;
      else {
        names.set(reference, id);
        counts[source]++;
      }
    };
    for (const [reference, id] of await this.#salvage(path)) add(reference, id, 'salvaged');
    for (const [id, references] of (await this.read(path))?.byImage() ?? [])
      for (const reference of references) add(reference, id, 'copied');
    return { names, ...counts, isOld: this.#isOld(path) };
  }

  /** Returns the whole entries in the damaged file. */
  async #salvage(path: string): Promise<[Reference, ImageID][]> {
    const bytes = await readStoreFile(this.#root.layout.at(path), MAX_SALVAGED_BYTES).catch(
      (error: unknown) => {
        // Not a file, or far too large.
        if (LayerstackError.is(error) || (error as { code?: unknown }).code === 'EISDIR') return undefined;
        throw error;
      },
    );
    const text = bytes?.toString() ?? '';
    return [...text.matchAll(ENTRY)].flatMap(([, key = '', id = '']): [Reference, ImageID][] => {
      const reference = asReference(`"${key}"`);
      return reference === undefined ? [] : [[reference, id as ImageID]];
    });
  }

  #isOld(path: string): boolean {
    const copy = this.#file(copyOf(path));
    const dockerd = this.#file(this.#root.layout.writerLock);
    return copy !== undefined && dockerd !== undefined && dockerd.mtimeMs > copy.mtimeMs;
  }

  #file(path: string): StoreEntry | undefined {
    const entry = statEntry(this.#root.layout.at(path));
    return entry?.kind === 'file' ? entry : undefined;
  }
}

/** Returns the path of the copy of a file of names, relative to the root. */
export function copyOf(path: string): string {
  return path.startsWith('layerstack/') ? `${path}.good` : `layerstack/${path.split('/').at(-1) ?? ''}.good`;
}

/** Returns the reference of a key of the file; undefined unless the key is in docker's form. */
function asReference(quoted: string): Reference | undefined {
  try {
    const key = JSON.parse(quoted) as string;
    const reference = parseReference(key);
    return formatReference(reference) === key && (reference.tag ?? reference.digest) !== undefined
      ? reference
      : undefined;
  } catch {
    return undefined;
  }
}
