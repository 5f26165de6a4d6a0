/**
 * Writes JSON as Go's encoding/json does, for files that must equal dockerd's byte for byte. It writes no
 * spaces. It escapes `<`, `>`, `&`, U+2028 and U+2029. Control characters other than \n, \r and \t become
 * \u00xx, also \b and \f, for which Go has short forms only since 1.22. Lone surrogates become U+FFFD.
 */
import { compareBytes } from './bytes.ts';

// Where JSON.stringify differs from Go, the string is rewritten character by character.
// eslint-disable-next-line no-control-regex -- control characters are the point
const SPECIAL = /[\u0000-\u001f"\\<>&\u2028\u2029]/g;
// eslint-disable-next-line no-control-regex -- as above
const SPECIAL_BUT_HTML = /[\u0000-\u001f"\\\u2028\u2029]/g;
/** Strings of these characters, which are most strings, are the same in both. */
const PLAIN = /^[ !#-%'-;=?-[\]-~]*$/;
const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Quotes a string as Go does; `html`: with `<`, `>` and `&` escaped, which is Go's default. */
export function goString(text: string, html = true): string {
  if (PLAIN.test(text)) return `"${text}"`;
  const escaped = text
    .replace(LONE_SURROGATE, '\ufffd')
    .replace(
      html ? SPECIAL : SPECIAL_BUT_HTML,
      (char) => SHORT[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
  return `"${escaped}"`;
}

/** Writes a value as Go does. Object keys stay in their order; `undefined` members are left out. */
export function goJson(value: unknown, html = true): string {
  if (typeof value === 'string') return goString(value, html);
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return JSON.stringify(value);
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map((each) => goJson(each, html)).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`not a JSON value: ${typeof value}`);
  const members = value instanceof Map ? [...(value as Map<string, unknown>)] : Object.entries(value);
  const written = members
    .filter(([, each]) => each !== undefined)
    .map(([key, each]) => `${goString(key, html)}:${goJson(each, html)}`);
  return `{${written.join(',')}}`;
}

/** Returns the same entries with the keys in byte order, as Go writes a map. */
export function sortedKeys<T>(entries: Iterable<readonly [string, T]>): Map<string, T> {
  return new Map([...entries].sort(([a], [b]) => compareBytes(a, b)));
}
