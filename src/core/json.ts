/**
 * Reads JSON from untrusted sources as Go's encoding/json reads it into structs: field names match in any
 * case (the last one in the document wins), `null` equals absent, and unknown fields are skipped. Size and
 * nesting are bounded, and every error names its place in the document. Objects are read through own
 * properties only, so `__proto__` is a key like any other. go-json.ts writes JSON.
 */
import { Buffer } from 'node:buffer';
import { LayerstackError, type ErrorCode, type ErrorFacts } from './errors.ts';

/** The document that is being read, for bounds and messages. */
export interface JsonSource {
  /** Begins the message of every error, e.g. `image config sha256:…`. */
  readonly what: string;
  /** The code of every error. */
  readonly code: ErrorCode;
  readonly maxBytes: number;
  readonly facts?: ErrorFacts;
}

/** Deeper than any real document. It bounds every recursion over a document. */
const MAX_DEPTH = 100;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Reads one value; `path` says where it is in the document. Throws {@link JsonMismatch}. */
export type Decoder<T> = (value: unknown, path: string) => T;

/** The type of a decoder's result. */
export type Decoded<D> = D extends Decoder<infer T> ? T : never;

/** A value is not of the type that a decoder expects. {@link decode} turns it into a LayerstackError. */
class JsonMismatch extends Error {}

/**
 * Returns the document as plain values.
 * @throws {@link LayerstackError} `source.code` when it is too large, too deep or not JSON.
 */
export function parseJson(bytes: Uint8Array, source: JsonSource): unknown {
  return parse(bytes, source).value;
}

/**
 * Checks that the document is JSON, and returns its text.
 * @throws {@link LayerstackError} as {@link parseJson}.
 */
export function validText(bytes: Uint8Array, source: JsonSource): string {
  return parse(bytes, source).text;
}

function parse(bytes: Uint8Array, source: JsonSource): { readonly value: unknown; readonly text: string } {
  const fail = (why: string): never => {
    throw new LayerstackError(source.code, `${source.what}: ${why}`, { ...source.facts });
  };
  if (bytes.length > source.maxBytes) {
    fail(`it has ${bytes.length} bytes; ${source.maxBytes} are allowed`);
  }
  if (bytes.length === 0) fail('it is empty, not JSON');
  if (depthExceeds(bytes, MAX_DEPTH)) fail(`it is nested deeper than ${MAX_DEPTH} levels`);
  try {
    // Like Go: invalid UTF-8 becomes U+FFFD, and a byte order mark is a syntax error.
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
    return { value: JSON.parse(text), text };
  } catch (error) {
    // Node's message is dropped: it quotes the document, which may hold secrets, or be a wrong file.
    const at = /at position (\d+)/.exec((error as Error).message)?.[1];
    return fail(at === undefined ? 'not JSON' : `not JSON (at character ${at})`);
  }
}

/**
 * Decodes a parsed document.
 * @throws {@link LayerstackError} `source.code` naming the place in the document.
 */
export function decode<T>(decoder: Decoder<T>, value: unknown, source: JsonSource): T {
  try {
    return decoder(value, '');
  } catch (error) {
    if (!(error instanceof JsonMismatch)) throw error;
    throw new LayerstackError(source.code, `${source.what}: ${error.message}`, { ...source.facts });
  }
}

/** {@link parseJson}, then {@link decode}. */
export function decodeJson<T>(decoder: Decoder<T>, bytes: Uint8Array, source: JsonSource): T {
  return decode(decoder, parseJson(bytes, source), source);
}

/** Throws: the value at `path` is wrong. */
export function mismatch(path: string, why: string): never {
  throw new JsonMismatch(`${path === '' ? 'the document' : path} ${why}`);
}

function describe(value: unknown): string {
  if (value === undefined) return 'is missing';
  if (value === null) return 'is null';
  if (Array.isArray(value)) return 'is an array';
  if (typeof value === 'object') return 'is an object';
  return `is a ${typeof value}`;
}

export const string: Decoder<string> = (value, path) =>
  typeof value === 'string' ? value : mismatch(path, `${describe(value)}, not a string`);

export const boolean: Decoder<boolean> = (value, path) =>
  typeof value === 'boolean' ? value : mismatch(path, `${describe(value)}, not true or false`);

/** Reads a whole number that a JavaScript number can hold exactly. */
export const integer: Decoder<number> = (value, path) => {
  if (typeof value !== 'number') mismatch(path, `${describe(value)}, not a number`);
  return Number.isSafeInteger(value) ? value : mismatch(path, `is not a whole number below 2^53`);
};

/** Reads a whole number of any size. */
export const whole: Decoder<number | bigint> = (value, path) =>
  typeof value === 'bigint' ? value : integer(value, path);

/** Reads any value. */
export const unknown: Decoder<unknown> = (value) => value;

/** Absent and `null` become undefined. */
export function optional<T>(decoder: Decoder<T>): Decoder<T | undefined> {
  return (value, path) => (value === undefined || value === null ? undefined : decoder(value, path));
}

/** Absent and `null` become `fallback`. */
export function withDefault<T>(decoder: Decoder<T>, fallback: T): Decoder<T> {
  return (value, path) => (value === undefined || value === null ? fallback : decoder(value, path));
}

export function array<T>(item: Decoder<T>, maxItems = Number.POSITIVE_INFINITY): Decoder<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) return mismatch(path, `${describe(value)}, not an array`);
    if (value.length > maxItems) mismatch(path, `has ${value.length} items; ${maxItems} are allowed`);
    return value.map((each, index) => item(each, `${path}[${index}]`));
  };
}

/** Reads an object with free keys, in the document's order. */
export function map<T>(item: Decoder<T>): Decoder<ReadonlyMap<string, T>> {
  return (value, path) =>
    new Map(
      entriesOf(value, path).map(([key, each]) => [key, item(each, `${path}[${JSON.stringify(key)}]`)]),
    );
}

/**
 * Reads an object with these fields; other fields are skipped. Names match in any case, the last one wins.
 */
export function object<S extends Record<string, Decoder<unknown>>>(
  shape: S,
): Decoder<{ readonly [K in keyof S]: Decoded<S[K]> }> {
  const fields = new Map(Object.keys(shape).map((name) => [name.toLowerCase(), name]));
  return (value, path) => {
    const found = new Map<string, unknown>();
    for (const [key, each] of entriesOf(value, path)) {
      const name = fields.get(key.toLowerCase());
      if (name !== undefined && each !== null) found.set(name, each);
    }
    const decoded = Object.entries(shape).map(([name, decoder]) => [
      name,
      decoder(found.get(name), path === '' ? name : `${path}.${name}`),
    ]);
    return Object.fromEntries(decoded) as { readonly [K in keyof S]: Decoded<S[K]> };
  };
}

/** Reads an object with exactly these fields. The case of their names counts. */
export function closedObject<S extends Record<string, Decoder<unknown>>>(
  shape: S,
): Decoder<{ readonly [K in keyof S]: Decoded<S[K]> }> {
  const decoder = object(shape);
  return (value, path) => {
    for (const [key] of entriesOf(value, path))
      if (!Object.hasOwn(shape, key))
        mismatch(
          path,
          `has an unknown key ${JSON.stringify(key)}; it may have ${Object.keys(shape).join(', ')}`,
        );
    return decoder(value, path);
  };
}

function entriesOf(value: unknown, path: string): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return mismatch(path, `${describe(value)}, not an object`);
  }
  return Object.entries(value);
}

/** Returns the bytes of the first value if it is a complete object or array, else all bytes. */
export function firstValue(bytes: Uint8Array): Uint8Array {
  let end: number | undefined;
  scanBrackets(bytes, (depth, at) => {
    if (depth === 0) end = at + 1;
    return depth > 0;
  });
  return end === undefined ? bytes : bytes.subarray(0, end);
}

function depthExceeds(bytes: Uint8Array, limit: number): boolean {
  return !scanBrackets(bytes, (depth) => depth <= limit);
}

/**
 * Calls `visit` for every bracket outside strings, with the depth after it, until `visit` returns false.
 * Returns whether it reached the end. It makes one pass, without recursion.
 */
function scanBrackets(bytes: Uint8Array, visit: (depth: number, at: number) => boolean): boolean {
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) {
      i = endOfString(bytes, i + 1);
    } else if (byte === 0x7b || byte === 0x5b) {
      if (!visit(++depth, i)) return false;
    } else if (byte === 0x7d || byte === 0x5d) {
      if (!visit(--depth, i)) return false;
    }
  }
  return true;
}

/**
 * Returns the closing quote of the string that begins at `start`: the first after an even number of
 * backslashes.
 */
function endOfString(bytes: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(QUOTE, start); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let before = at - 1;
    while (before >= start && bytes[before] === BACKSLASH) before--;
    if ((at - 1 - before) % 2 === 0) return at;
  }
  return bytes.length;
}
