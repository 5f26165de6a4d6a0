/**
 * The content of repositories.json as a value: the references, and the images that they name.
 *
 *   {"Repositories":{"t/a":{"t/a:1":"sha256:787c…","t/a@sha256:c456…":"sha256:787c…"}}}
 *
 * Outer keys are familiar names; inner keys are whole references with a tag or a manifest digest; values are
 * image ids. Reading is as lenient as dockerd's. Tolerated oddities (keys in another form, values that are
 * not digests, `null` for a repository) are kept when the file is written again. Writing is byte-identical to
 * dockerd's: keys sorted bytewise, Go's escaping, no newline. Mirrors `moby/moby: reference/store.go` at
 * v20.10.
 */
import { compareBytes } from '../core/bytes.ts';
import { imageIdOf, isDigest, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { goJson, sortedKeys } from '../core/go-json.ts';
import * as json from '../core/json.ts';
import {
  canonicalName,
  formatReference,
  parseReference,
  withDefaultTag,
  type Reference,
} from '../core/reference.ts';

type Repositories = Map<string, Map<string, string> | null>;

/** A set of references. */
export interface References {
  /**
   * Returns the image that `reference` names (with a digest: by the digest alone; without a tag: `latest`).
   */
  get(reference: Reference): ImageID | undefined;
  /** Returns the references of every image, each list in docker's order. */
  byImage(): ReadonlyMap<ImageID, readonly Reference[]>;
}

/** A set of references that may be changed. */
export interface MutableReferences extends References {
  /**
   * Points `reference` to `id` and returns the image that it named before.
   * @throws {@link LayerstackError} ERR_REFERENCE_CONFLICT when it has a digest and names another image.
   */
  set(reference: Reference, id: ImageID): ImageID | undefined;
  /** Removes `reference`, if it exists. */
  delete(reference: Reference): void;
  /**
   * Returns the keys that are not in docker's form, so that docker does not find them. `familiar` is docker's
   * form of the key, if it has one.
   */
  strays(): readonly { readonly key: string; readonly familiar: string | undefined }[];
  /** Brings such a key to docker's form. Where that form names an image already, the key is removed. */
  respell(key: string): void;
}

/** The file belongs to the host, so this bound only guards against reading a disk image by mistake. */
export const MAX_REFERENCES_BYTES = 256 * 1024 * 1024;

/** The hint for a file of names that cannot be read. */
export const REBUILD = '`layerstack fsck --repair` writes the file again from its last good copy';

const decodeFile = json.object({
  Repositories: json.withDefault<ReadonlyMap<string, ReadonlyMap<string, string> | undefined>>(
    json.map(json.optional(json.map(json.withDefault(json.string, '')))),
    new Map(),
  ),
});

/**
 * Decodes the file's bytes; undefined where the file is missing.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT where dockerd would not start: the file is empty or not
 *   JSON.
 */
export function parseReferences(bytes: Uint8Array | undefined, path: string): MutableReferences & Written {
  if (bytes === undefined) return new ReferenceSet(new Map());
  try {
    const file = decodeLeniently(bytes, path);
    const copy = [...file.Repositories].map(
      ([name, inner]) => [name, inner ? new Map(inner) : null] as const,
    );
    return new ReferenceSet(new Map(copy));
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${error.message}. dockerd does not start with it either. Images can be used by their ids; ${REBUILD}`,
      { path, cause: error },
    );
  }
}

/**
 * Decodes the first value. dockerd ignores the rest of the file, so bytes after the value are not an error.
 */
function decodeLeniently(bytes: Uint8Array, path: string): json.Decoded<typeof decodeFile> {
  const source = {
    what: path,
    code: 'ERR_STORE_CORRUPT',
    maxBytes: MAX_REFERENCES_BYTES,
    facts: { path },
  } as const;
  try {
    return json.decodeJson(decodeFile, bytes, source);
  } catch {
    return json.decodeJson(decodeFile, json.firstValue(bytes), source);
  }
}

/** The references, with the file's new content. */
export interface Written {
  /** Returns the bytes that dockerd would write. */
  serialize(): string;
}

class ReferenceSet implements MutableReferences, Written {
  readonly #repositories: Repositories;

  constructor(repositories: Repositories) {
    this.#repositories = repositories;
  }

  get(reference: Reference): ImageID | undefined {
    const key = keyOf(reference);
    const id = this.#repositories.get(key.repository)?.get(formatReference(key));
    return id !== undefined && isDigest(id) ? imageIdOf(id) : undefined;
  }

  set(reference: Reference, id: ImageID): ImageID | undefined {
    const key = keyOf(reference);
    const text = formatReference(key);
    const repository = this.#repositories.get(key.repository) ?? new Map<string, string>();
    const previous = repository.get(text);
    if (key.digest !== undefined && previous !== undefined && previous !== id) {
      throw new LayerstackError(
        'ERR_REFERENCE_CONFLICT',
        `${text} names image ${previous} already; a reference by digest cannot be moved to another image`,
        { reference: text, id: previous },
      );
    }
    repository.set(text, id);
    this.#repositories.set(key.repository, repository);
    return previous as ImageID | undefined;
  }

  delete(reference: Reference): void {
    const key = keyOf(reference);
    const repository = this.#repositories.get(key.repository);
    if (repository?.delete(formatReference(key)) === true && repository.size === 0)
      this.#repositories.delete(key.repository);
  }

  strays(): readonly { readonly key: string; readonly familiar: string | undefined }[] {
    return [...this.#repositories].flatMap(([repository, inner]) =>
      [...(inner ?? new Map<string, string>()).keys()].flatMap((key) => {
        const reference = parseOrUndefined(key);
        const familiar = reference && formatReference(keyOf(reference));
        return key === familiar && reference?.repository === repository ? [] : [{ key, familiar }];
      }),
    );
  }

  respell(key: string): void {
    const reference = parseOrUndefined(key);
    if (reference === undefined) return;
    for (const [repository, inner] of this.#repositories) {
      const id = inner?.get(key);
      if (
        !inner ||
        id === undefined ||
        (repository === reference.repository && formatReference(keyOf(reference)) === key)
      )
        continue;
      inner.delete(key);
      if (inner.size === 0) this.#repositories.delete(repository);
      if (this.get(reference) === undefined) this.set(reference, id as ImageID);
    }
  }

  byImage(): ReadonlyMap<ImageID, readonly Reference[]> {
    const found = new Map<ImageID, Reference[]>();
    for (const repository of this.#repositories.values()) {
      for (const [text, id] of repository ?? []) {
        const reference = parseOrUndefined(text);
        if (reference === undefined) continue;
        const list = found.get(id as ImageID);
        if (list === undefined) found.set(id as ImageID, [reference]);
        else list.push(reference);
      }
    }
    for (const [id, list] of found) if (list.length > 1) found.set(id, inOrder(list));
    return found;
  }

  serialize(): string {
    const sorted = [...this.#repositories].map(
      ([name, inner]) => [name, inner && sortedKeys(inner)] as const,
    );
    return goJson({ Repositories: sortedKeys(sorted) });
  }
}

/** Sorts as dockerd does: by the whole name with its registry. */
function inOrder(references: readonly Reference[]): Reference[] {
  return references
    .map((reference) => ({
      reference,
      key: formatReference({ ...reference, repository: canonicalName(reference.repository) }),
    }))
    .sort((a, b) => compareBytes(a.key, b.key))
    .map(({ reference }) => reference);
}

/** Returns the reference in its stored form, which never has both a tag and a digest. */
function keyOf(reference: Reference): Reference {
  const { repository, digest } = withDefaultTag(reference);
  return digest === undefined ? withDefaultTag(reference) : { repository, digest };
}

/** Keys that dockerd cannot parse are kept, but name nothing. */
function parseOrUndefined(text: string): Reference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}
