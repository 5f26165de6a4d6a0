/**
 * The values of templates, and the Go types that they stand for. A plain object is a struct, whose fields are
 * fixed. A Map is a map, which may lack any key. An integral number is an int, a bigint an int64. undefined
 * is the absence of a value.
 */
import { goJson } from '../go-json.ts';

/** A float64, which JavaScript does not distinguish from an int. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
  toJSON(): number {
    return this.value;
  }
}

/** A nil with a type, as in the fields of Go's structs. */
export class Nil {
  readonly of: 'slice' | 'map' | 'pointer';
  constructor(of: 'slice' | 'map' | 'pointer') {
    this.of = of;
  }
  toJSON(): null {
    return null;
  }
}

/** Returns Go's name of an object's type, for messages. */
export const TYPE = Symbol('type');

export type Struct = Readonly<Record<string, unknown>> & { readonly [TYPE]?: string };

export function isStruct(value: unknown): value is Struct {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Map || value instanceof Nil || value instanceof Float)
  );
}

export function typeName(value: unknown): string {
  if (value === undefined || value === null) return '<nil>';
  if (typeof value === 'string') return 'string';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float64';
  if (typeof value === 'bigint') return 'int64';
  if (value instanceof Float) return 'float64';
  if (Array.isArray(value))
    return value.every((each) => typeof each === 'string') ? '[]string' : '[]interface {}';
  if (value instanceof Map) return 'map[string]interface {}';
  if (value instanceof Nil)
    return value.of === 'map' ? 'map[string]string' : value.of === 'slice' ? '[]string' : 'pointer';
  return (isStruct(value) && value[TYPE]) || 'struct';
}

export function isTrue(value: unknown): boolean {
  if (value === undefined || value === null || value instanceof Nil) return false;
  if (value instanceof Float) return value.value !== 0;
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  return isStruct(value) || Boolean(value);
}

/** Formats a value as `%v` does. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return '<nil>';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value instanceof Float) return showFloat(value.value);
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (value instanceof Nil) return { slice: '[]', map: 'map[]', pointer: '<nil>' }[value.of];
  if (value instanceof Map)
    return `map[${sorted(value)
      .map(([key, each]) => `${key}:${show(each)}`)
      .join(' ')}]`;
  if (isStruct(value))
    return `{${Object.values(value)
      .filter((each) => typeof each !== 'function')
      .map(show)
      .join(' ')}}`;
  return String(value as boolean);
}

/** Formats a number as Go's `%g` does: with an exponent of two digits below 1e-4 and from 1e21 on. */
function showFloat(value: number): string {
  if (value === Infinity) return '+Inf';
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 1e21) ? value.toExponential() : String(value);
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** Returns the entries of a map in the order that Go's templates use. */
export function sorted(map: ReadonlyMap<string, unknown>): [string, unknown][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/**
 * Formats a value as encoding/json does, without its escapes for HTML, and maps in the order of their keys.
 */
export function toJson(value: unknown): string {
  return goJson(plain(value), false);
}

/** Converts a value to one that goJson accepts. */
function plain(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map)
    return new Map(sorted(value as Map<string, unknown>).map(([key, each]) => [key, plain(each)]));
  if (typeof value !== 'object') return value;
  const { toJSON } = value as { readonly toJSON?: unknown };
  if (typeof toJSON === 'function') return plain(toJSON.call(value));
  const fields = Object.entries(value).filter(([, each]) => each !== undefined && typeof each !== 'function');
  return Object.fromEntries(fields.map(([name, each]) => [name, plain(each)]));
}
