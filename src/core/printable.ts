/**
 * Text of strangers for the eyes of people: file names, image fields, messages of servers. Control characters (C0, C1, DEL)
 * drive a terminal, separators of lines break what is one line, and format characters (directions of writing, zero-width
 * ones) make a text look like another one.
 */

/** Cc: controls. Cf: formats. Zl, Zp: separators of lines and paragraphs. Cs: halves of surrogate pairs. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

const SHORT: Readonly<Record<string, string>> = {
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\f': '\\f',
  '\r': '\\r',
};

/**
 * The text with JSON's escape in the place of each character that is not to be seen: `\n`, `\u001b`, `\u202e`. So a JSON
 * document on one line stays the same document.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => SHORT[character] ?? escapes(character));
}

/** A character beyond U+FFFF is two. */
function escapes(character: string): string {
  let text = '';
  for (let at = 0; at < character.length; at++)
    text += `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
  return text;
}
