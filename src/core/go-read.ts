/**
 * Reads JSON as Go's encoding/json reads it into a typed value. It refuses a value that a Go program would
 * refuse, with its path. Names match in any case; unknown names are skipped. Of a repeated name every
 * occurrence is read and the last one counts; objects are merged. `null` clears a list, a map and a pointer,
 * and leaves everything else as it is. Whole numbers consist of digits only (not `10.0` or `1e2`), within the
 * range of their type. Types are data: see image/docker-types.ts.
 */
import { decode, mismatch, validText, type JsonSource } from './json.ts';
import { parseTime, ZERO_TIME } from './time.ts';

/**
 * `words` is docker's `strslice.StrSlice`: a list of strings, or one string that stands for a list of one.
 */
export type GoType = keyof typeof RANGES | 'string' | 'bool' | 'time' | 'words' | Composite;

type Composite =
  | { readonly list: GoType }
  | { readonly map: GoType }
  | { readonly pointer: GoType }
  | { readonly fields: ReadonlyMap<string, Field> };

interface Field {
  readonly name: string;
  readonly type: GoType;
}

type Fields = Record<string, unknown>;

const RANGES = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
} as const;

const WHOLE = /^-?\d+$/;
const NUMBER = /[-+.eE\d]+/y;
/** All kinds except strings. */
const TOKEN = /[{}[\],:]|[\w.+-]+/y;

export function list(item: GoType): GoType {
  return { list: item };
}

/** Keys are strings. */
export function mapOf(item: GoType): GoType {
  return { map: item };
}

export function pointer(to: GoType): GoType {
  return { pointer: to };
}

export function struct(fields: Readonly<Record<string, GoType>>): GoType {
  const known = new Map<string, Field>();
  for (const [name, type] of Object.entries(fields))
    for (const key of [folded(name), name]) known.set(key, { name, type });
  return { fields: known };
}

/**
 * Returns the document as plain values. Members of structs have the type's names; a member that the document
 * lacks is absent. A whole number that a JavaScript number cannot hold exactly is a bigint.
 * @throws {@link LayerstackError} `source.code` naming the place in the document.
 */
export function readGo(type: GoType, bytes: Uint8Array, source: JsonSource): unknown {
  const text = validText(bytes, source);
  return decode(() => new GoReader(text).value(type, '', zero(type)), undefined, source);
}

/** Folds the case as Go does: letters of ASCII, and the two other characters that fold to one of them. */
function folded(name: string): string {
  return name
    .replace(/\u017f/g, 's')
    .replace(/\u212a/g, 'k')
    .toLowerCase();
}

/** Go's zero value. */
function zero(type: GoType): unknown {
  if (typeof type === 'object') return 'fields' in type ? {} : null;
  if (type === 'string') return '';
  if (type === 'bool') return false;
  if (type === 'time') return ZERO_TIME;
  return type === 'words' ? null : 0;
}

function isCleared(type: GoType): boolean {
  return typeof type === 'object' ? !('fields' in type) : type === 'words';
}

/** Reads a text that has been checked to be JSON, in one pass. */
class GoReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Reads the next value; `before` is the value that it replaces or extends. */
  value(type: GoType, path: string, before: unknown): unknown {
    if (this.#peek() === 'n') {
      this.#at += 'null'.length;
      return isCleared(type) ? null : before;
    }
    if (typeof type === 'object') return this.#composite(type, path, before);
    if (type === 'string') return this.#peek() === '"' ? this.#string() : this.#refuse(path, 'a string');
    if (type === 'bool') return this.#bool(path);
    if (type === 'time') return this.#time(path);
    if (type === 'words') return this.#words(path);
    return this.#whole(type, path);
  }

  #composite(type: Composite, path: string, before: unknown): unknown {
    if ('pointer' in type) return this.value(type.pointer, path, before ?? zero(type.pointer));
    if ('list' in type) return this.#list(type.list, path);
    if ('map' in type) return this.#map(type.map, path, before);
    return this.#struct(type.fields, path, before);
  }

  #struct(fields: ReadonlyMap<string, Field>, path: string, before: unknown): Fields {
    const result = (before ?? {}) as Fields;
    this.#enter('{', 'an object', path);
    while (this.#hasNext('}')) {
      const key = this.#key();
      const field = fields.get(key) ?? fields.get(folded(key));
      if (field === undefined) this.#skip();
      else {
        const at = path === '' ? field.name : `${path}.${field.name}`;
        result[field.name] = this.value(field.type, at, result[field.name]);
      }
    }
    return result;
  }

  #map(item: GoType, path: string, before: unknown): Fields {
    // Without a prototype, so that `__proto__` is a key like any other.
    const result = (before ?? Object.create(null)) as Fields;
    this.#enter('{', 'an object', path);
    while (this.#hasNext('}')) {
      const key = this.#key();
      result[key] = this.value(item, `${path}[${JSON.stringify(key)}]`, zero(item));
    }
    return result;
  }

  #list(item: GoType, path: string): unknown[] {
    const result: unknown[] = [];
    this.#enter('[', 'an array', path);
    while (this.#hasNext(']')) result.push(this.value(item, `${path}[${result.length}]`, zero(item)));
    return result;
  }

  #bool(path: string): boolean {
    const first = this.#peek();
    if (first !== 't' && first !== 'f') this.#refuse(path, 'true or false');
    this.#at += first === 't' ? 'true'.length : 'false'.length;
    return first === 't';
  }

  /** Go parses a time from the literal, so an escape in it makes the time invalid. */
  #time(path: string): string {
    if (this.#peek() !== '"') this.#refuse(path, 'a string');
    const literal = this.#literal();
    const text = literal.slice(1, -1);
    return parseTime(text) === undefined ? mismatch(path, 'is not an RFC 3339 time') : text;
  }

  #words(path: string): unknown {
    const first = this.#peek();
    if (first === '"') return [this.#string()];
    return first === '[' ? this.#list('string', path) : this.#refuse(path, 'a string or an array of strings');
  }

  #whole(type: keyof typeof RANGES, path: string): number | bigint {
    if (!/[-\d]/.test(this.#peek())) this.#refuse(path, 'a number');
    const literal = this.#match(NUMBER);
    const [least, most] = RANGES[type];
    // ParseUint accepts no sign, not even in -0.
    if (!WHOLE.test(literal) || (least === 0n && literal.startsWith('-')))
      mismatch(
        path,
        `is ${literal}, not a whole number ${least === 0n ? 'in digits without a sign' : 'in plain digits'}`,
      );
    const exact = BigInt(literal);
    if (exact < least || exact > most) mismatch(path, `is ${literal}, which is beyond the range of ${type}`);
    const value = Number(exact);
    return Number.isSafeInteger(value) ? value : exact;
  }

  #enter(open: '{' | '[', wanted: string, path: string): void {
    if (this.#peek() !== open) this.#refuse(path, wanted);
    this.#at++;
  }

  /** Steps to the next item. Returns false, after the closing bracket, where the list ends. */
  #hasNext(close: ']' | '}'): boolean {
    const next = this.#peek();
    if (next === ',' || next === close) this.#at++;
    if (next === ',') this.#peek();
    return next !== close;
  }

  /** Reads the name of a member and steps to its value. */
  #key(): string {
    const key = this.#string();
    this.#peek();
    this.#at += ':'.length;
    return key;
  }

  #skip(): void {
    let depth = 0;
    do {
      const first = this.#peek();
      if (first === '"') this.#literal();
      else {
        if (first === '{' || first === '[') depth++;
        if (first === '}' || first === ']') depth--;
        this.#match(TOKEN);
      }
    } while (depth > 0);
  }

  /** Returns the first character of the next token. */
  #peek(): string {
    // Between tokens nothing but white space is at or below U+0020.
    while (this.#text.charCodeAt(this.#at) <= 0x20) this.#at++;
    return this.#text.charAt(this.#at);
  }

  #match(sticky: RegExp): string {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #string(): string {
    const literal = this.#literal();
    return literal.includes('\\') ? (JSON.parse(literal) as string) : literal.slice(1, -1);
  }

  /** Reads a string with its quotes. */
  #literal(): string {
    const start = this.#at;
    let end = start;
    for (let backslashes = 1; backslashes % 2 === 1;) {
      end = this.#text.indexOf('"', end + 1);
      backslashes = 0;
      while (this.#text[end - 1 - backslashes] === '\\') backslashes++;
    }
    this.#at = end + 1;
    return this.#text.slice(start, this.#at);
  }

  #refuse(path: string, wanted: string): never {
    const first = this.#text.charAt(this.#at);
    const kinds: Readonly<Record<string, string>> = {
      '"': 'a string',
      '{': 'an object',
      '[': 'an array',
      t: 'true',
      f: 'false',
    };
    return mismatch(path, `is ${kinds[first] ?? 'a number'}, not ${wanted}`);
  }
}
