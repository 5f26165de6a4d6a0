/**
 * Keeps the names and settings of the networks and volumes that docker's clients make. layerstack does no
 * networking and does not mount volumes, but clients (compose) expect to find what they have made. Each kind
 * has one document, `layerstack/networks.json` and `layerstack/volumes.json`, which is replaced as a whole
 * under a lock.
 */
import { LayerstackError } from '../core/errors.ts';
import { goJson } from '../core/go-json.ts';
import * as json from '../core/json.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { readText, statEntry } from '../system/store-files.ts';
import type { Root } from '../system/root.ts';

/** The largest size of one document. */
const MAX_BYTES = 16 * 1024 * 1024;

export interface NamedObject {
  /** 64 hex digits; for a volume, its name. */
  readonly Id: string;
  readonly Name: string;
  /** RFC3339. */
  readonly Created: string;
  readonly Driver: string;
  readonly Labels: Readonly<Record<string, string>>;
  readonly Options: Readonly<Record<string, string>>;
  /** The other members that docker shows, as the client gave them. */
  readonly More: Readonly<Record<string, unknown>>;
}

const texts: json.Decoder<Record<string, string>> = (value, path) =>
  Object.fromEntries(json.map(json.string)(value, path));

const decode: json.Decoder<NamedObject[]> = json.array(
  json.object({
    Id: json.string,
    Name: json.string,
    Created: json.string,
    Driver: json.string,
    Labels: texts,
    Options: texts,
    More: (value, path) => Object.fromEntries(json.map(json.unknown)(value, path)),
  }),
);

/** All networks, or all volumes, of a store. */
export class NamedObjects {
  readonly #root: Root;
  readonly #path: Layout['networks' | 'volumes'];

  constructor(root: Root, kind: 'networks' | 'volumes') {
    this.#root = root;
    this.#path = root.layout[kind];
  }

  /**
   * Returns the objects in the order in which they were made.
   * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the document is broken.
   */
  list(): readonly NamedObject[] {
    const path = this.#root.layout.at(this.#path);
    const text = readText(path, MAX_BYTES);
    if (text === undefined) return [];
    const source = { what: path, code: 'ERR_STORE_CORRUPT', maxBytes: MAX_BYTES, facts: { path } } as const;
    return json.decodeJson(decode, Buffer.from(text), source);
  }

  /**
   * Adds an object, unless one with its name exists. Durable on return.
   * @returns the object that has the name now
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY; ERR_LIMIT_EXCEEDED when the document would be too
   *   large.
   */
  add(object: NamedObject): Promise<NamedObject> {
    return this.#change((objects) => {
      const found = objects.find(({ Name }) => Name === object.Name);
      return { result: found ?? object, objects: found ? objects : [...objects, object] };
    });
  }

  /**
   * Removes the objects that `chosen` selects. Durable on return.
   * @returns the removed objects
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY.
   */
  remove(chosen: (object: NamedObject) => boolean): Promise<readonly NamedObject[]> {
    return this.#change((objects) => ({
      result: objects.filter(chosen),
      objects: objects.filter((object) => !chosen(object)),
    }));
  }

  async #change<T>(
    change: (objects: readonly NamedObject[]) => { result: T; objects: readonly NamedObject[] },
  ): Promise<T> {
    this.#root.session();
    const { layout, locks } = this.#root;
    await using _lock = await locks.acquire('references', this.#path);
    const before = this.list();
    const { result, objects } = change(before);
    if (objects.length === before.length) return result;
    const data = goJson(objects);
    if (Buffer.byteLength(data) > MAX_BYTES)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `${this.#path} would have more than ${MAX_BYTES} bytes: remove those that you do not need`,
      );
    const temporary = this.#temporary;
    await call(
      native.batch(layout.root, [
        { op: 'unlink', path: temporary, missing: true },
        { op: 'write', path: temporary, data, mode: 0o600, sync: true },
        { op: 'rename', from: temporary, to: this.#path },
        { op: 'fsync', path: layout.own },
      ]),
    );
    return result;
  }

  /** The name is fixed, so that killed processes leave at most one such file. */
  get #temporary(): string {
    return `${this.#path}.new`;
  }

  /** Removes the temporary file of a killed process. */
  async resume(): Promise<void> {
    const { layout, locks } = this.#root;
    if (statEntry(layout.at(this.#temporary)) === undefined) return;
    await using _lock = await locks.acquire('references', this.#path);
    await call(native.batch(layout.root, [{ op: 'unlink', path: this.#temporary, missing: true }]));
  }
}
