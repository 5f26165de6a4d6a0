/** Go's `%q`: texts as Go's `strconv.Quote` writes them, which docker puts into the history of images. */

const SHORT: Readonly<Record<string, string>> = {
  ...{ '\u0007': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v' },
};
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** Quotes a text: `"a\nb"`. */
export function goQuote(text: string): string {
  return `"${[...text].map((character) => escaped(character, '"')).join('')}"`;
}

/** Quotes a list: `["a" "b"]`. */
export function goQuoteList(list: readonly string[]): string {
  return `[${list.map(goQuote).join(' ')}]`;
}

/** Quotes a number, as `%q` does: it stands for a character. */
export function goQuoteNumber(value: number): string {
  return `'${escaped(String.fromCodePoint(value <= 0x10ffff ? value : 0xfffd), "'")}'`;
}

function escaped(character: string, quote: string): string {
  if (character === quote || character === '\\') return `\\${character}`;
  const short = SHORT[character];
  if (short !== undefined) return short;
  if (PRINTABLE.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  const hex = (digits: number): string => code.toString(16).padStart(digits, '0');
  if (code < 0x80) return `\\x${hex(2)}`;
  return code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}
