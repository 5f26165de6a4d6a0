/**
 * The functions of Go's templates (golang/go: src/text/template/funcs.go) and of docker's (docker/cli:
 * templates/templates.go).
 */
import { sprintf } from './printf.ts';
import { Float, isTrue, Nil, show, toJson, typeName } from './values.ts';

export type Kind = 'any' | 'string' | 'int' | 'strings';

export interface TemplateFunction {
  readonly parameters: readonly Kind[];
  /** The type of any further arguments. */
  readonly rest?: Kind;
  call(...args: never[]): unknown;
}

function define<A extends unknown[]>(
  parameters: readonly Kind[],
  call: (...args: A) => unknown,
  rest?: Kind,
): TemplateFunction {
  return { parameters, call, ...(rest && { rest }) };
}

/** Maximum length of a padding. Go does not limit it. */
const MAX_PAD = 10_000;

const same = (text: string): string => text;

function fail(what: string): never {
  throw new Error(what);
}

function bytes(text: string, from: number, to: number): string {
  return Buffer.from(text).subarray(from, to).toString();
}

function print(args: readonly unknown[]): string {
  return args.reduce<string>((text, each, index) => {
    const blank = index > 0 && typeof each !== 'string' && typeof args[index - 1] !== 'string';
    return text + (blank ? ' ' : '') + show(each);
  }, '');
}

type Basic = { readonly kind: string; readonly value: string | number | bigint | boolean };

function basic(value: unknown): Basic | undefined {
  if (typeof value === 'string' || typeof value === 'boolean') return { kind: typeof value, value };
  if (value instanceof Float) return { kind: 'float', value: value.value };
  if (typeof value === 'bigint') return { kind: 'int', value };
  if (typeof value === 'number')
    return Number.isInteger(value) ? { kind: 'int', value: BigInt(value) } : { kind: 'float', value };
  return undefined;
}

function equal(a: unknown, ...others: unknown[]): boolean {
  if (others.length === 0) fail('missing argument for comparison');
  return others.some((b) => {
    const [left, right] = [basic(a), basic(b)];
    if (left && right)
      return left.kind === right.kind
        ? left.value === right.value
        : fail('incompatible types for comparison');
    const none = (value: unknown) => value === undefined || value === null || value instanceof Nil;
    if (none(a) || none(b)) return none(a) && none(b);
    return fail(`non-comparable type ${show(a)}: ${typeName(a)}`);
  });
}

function less(a: unknown, b: unknown): boolean {
  const [left, right] = [basic(a), basic(b)];
  if (!left || !right || left.kind === 'boolean' || right.kind === 'boolean')
    return fail('invalid type for comparison');
  if (left.kind !== right.kind) return fail('incompatible types for comparison');
  if (typeof left.value === 'string')
    return Buffer.compare(Buffer.from(left.value), Buffer.from(String(right.value))) < 0;
  return left.value < right.value;
}

function position(index: unknown, length: number, inclusive = false): number {
  if (typeof index !== 'number' || !Number.isInteger(index))
    return fail(
      index == null
        ? 'cannot index slice/array with nil'
        : `cannot index slice/array with type ${typeName(index)}`,
    );
  if (index < 0 || index > length || (index === length && !inclusive))
    return fail(inclusive || index < 0 || index >= length ? `index out of range: ${index}` : '');
  return index;
}

function index(value: unknown, ...keys: unknown[]): unknown {
  if (value === undefined || value === null) return fail('index of untyped nil');
  return keys.reduce((item, key) => {
    if (item instanceof Map) {
      if (typeof key !== 'string') return fail(`value has type ${typeName(key)}; should be string`);
      return item.has(key) ? (item.get(key) as unknown) : zeroOf(item as Map<string, unknown>);
    }
    if (item instanceof Nil && item.of === 'map') return '';
    if (Array.isArray(item)) return item[position(key, item.length)] as unknown;
    if (item instanceof Nil && item.of === 'slice') return position(key, 0);
    if (typeof item === 'string') {
      const all = Buffer.from(item);
      return all[position(key, all.length)];
    }
    if (item === undefined || item === null || item instanceof Nil) return fail('index of nil pointer');
    return fail(`can't index item of type ${typeName(item)}`);
  }, value);
}

/** The zero value of a map of strings is a string. */
function zeroOf(map: ReadonlyMap<string, unknown>): unknown {
  return [...map.values()].every((value) => typeof value === 'string') ? '' : undefined;
}

function slice(value: unknown, ...indexes: unknown[]): unknown {
  if (indexes.length > 3) return fail(`too many slice indexes: ${indexes.length}`);
  if (typeof value !== 'string' && !Array.isArray(value))
    return fail(value == null ? 'slice of untyped nil' : `can't slice item of type ${typeName(value)}`);
  if (typeof value === 'string' && indexes.length === 3) return fail('cannot 3-index slice a string');
  const length = typeof value === 'string' ? Buffer.byteLength(value) : value.length;
  const [from = 0, to = length] = indexes.map((each) => position(each, length, true));
  if (from > to) return fail(`invalid slice index: ${from} > ${to}`);
  return typeof value === 'string' ? bytes(value, from, to) : value.slice(from, to);
}

function length(value: unknown): number {
  if (typeof value === 'string') return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (value instanceof Map) return value.size;
  if (value instanceof Nil && value.of !== 'pointer') return 0;
  return fail(value == null ? 'len of nil pointer' : `len of type ${typeName(value)}`);
}

const HTML: Readonly<Record<string, string>> = {
  ...{ '"': '&#34;', "'": '&#39;', '&': '&amp;', '<': '&lt;', '>': '&gt;' },
  '\0': '\ufffd',
};

function escapeJs(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are the point
  return text.replace(/[\\'"<>&=\0-\x1f]/g, (character) =>
    '\\\'"'.includes(character)
      ? `\\${character}`
      : `\\u${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
}

function title(text: string): string {
  return text.replace(
    /(^|[^\p{L}\p{N}_'])(\p{Ll})/gu,
    (_, before: string, letter: string) => before + letter.toUpperCase(),
  );
}

/**
 * The functions that a template may call. The evaluator itself handles `and` and `or`, which skip arguments.
 */
export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  and: define(['any'], (...args: unknown[]) => args.find((each) => !isTrue(each)) ?? args.at(-1), 'any'),
  or: define(['any'], (...args: unknown[]) => args.find(isTrue) ?? args.at(-1), 'any'),
  not: define(['any'], (value: unknown) => !isTrue(value)),
  eq: define(['any'], equal, 'any'),
  ne: define(['any', 'any'], (a: unknown, b: unknown) => !equal(a, b)),
  lt: define(['any', 'any'], less),
  le: define(['any', 'any'], (a: unknown, b: unknown) => less(a, b) || equal(a, b)),
  gt: define(['any', 'any'], (a: unknown, b: unknown) => !less(a, b) && !equal(a, b)),
  ge: define(['any', 'any'], (a: unknown, b: unknown) => !less(a, b)),
  len: define(['any'], length),
  index: define(['any'], index, 'any'),
  slice: define(['any'], slice, 'any'),
  print: define([], (...args: unknown[]) => print(args), 'any'),
  println: define([], (...args: unknown[]) => `${args.map(show).join(' ')}\n`, 'any'),
  printf: define(['string'], (format: string, ...args: unknown[]) => sprintf(format, args), 'any'),
  html: define(
    [],
    (...args: unknown[]) => print(args).replace(/["'&<>\0]/g, (each) => HTML[each] ?? each),
    'any',
  ),
  js: define([], (...args: unknown[]) => escapeJs(print(args)), 'any'),
  urlquery: define(
    [],
    (...args: unknown[]) =>
      encodeURIComponent(print(args))
        .replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`)
        .replaceAll('%20', '+'),
    'any',
  ),
  call: define(['any'], (value: unknown) => fail(`non-function of type ${typeName(value)}`), 'any'),
  json: define(['any'], toJson),
  split: define(['string', 'string'], (text: string, by: string) => (by === '' ? [...text] : text.split(by))),
  join: define(['strings', 'string'], (texts: readonly string[], by: string) => texts.join(by)),
  title: define(['string'], title),
  lower: define(['string'], (text: string) => text.toLowerCase()),
  upper: define(['string'], (text: string) => text.toUpperCase()),
  pad: define(['string', 'int', 'int'], (text: string, before: number, after: number) => {
    if (before < 0 || after < 0) return fail('strings: negative Repeat count');
    return text && ' '.repeat(Math.min(before, MAX_PAD)) + text + ' '.repeat(Math.min(after, MAX_PAD));
  }),
  truncate: define(['string', 'int'], (text: string, most: number) => {
    if (most < 0) return fail('slice bounds out of range');
    return bytes(text, 0, most);
  }),
};

/** In the header of a table, docker's functions return the text unchanged. */
export const HEADER_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  ...FUNCTIONS,
  json: define(['string'], same),
  split: define(['string', 'string'], same),
  join: define(['string', 'string'], same),
  title: define(['string'], same),
  lower: define(['string'], same),
  upper: define(['string'], same),
  truncate: define(['string', 'int'], same),
};
