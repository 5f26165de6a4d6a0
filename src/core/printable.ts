/**
 * Makes untrusted text (file names, image fields, messages of servers) safe to print. Control characters (C0,
 * C1, DEL) drive a terminal, line separators break one line into several, and format characters (directions
 * of writing, zero-width ones) make one text look like another.
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
 * Replaces each unsafe character by JSON's escape for it: `\n`, `\u001b`, `\u202e`. A JSON document on one
 * line therefore keeps its meaning.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => SHORT[character] ?? escapes(character));
}

/** Above U+FFFF the escape consists of two code units. */
function escapes(character: string): string {
  let text = '';
  for (let at = 0; at < character.length; at++)
    text += `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`;
  return text;
}
