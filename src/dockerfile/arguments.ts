/** Parses the arguments of Dockerfile instructions: lists in JSON, commands, names with values. */
import { firstValue } from '../core/json.ts';
import { WHITE_SPACE } from './parse.ts';
import { WordError } from './word-error.ts';
import { splitWords, type Escape } from './words.ts';

/** The shell of an image that names none. */
export const DEFAULT_SHELL: readonly string[] = ['/bin/sh', '-c'];

/** Returns the JSON array at the beginning of the text, or undefined. The rest of the text is ignored. */
export function jsonList(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  let list: unknown;
  try {
    list = JSON.parse(Buffer.from(firstValue(Buffer.from(text))).toString());
  } catch {
    return undefined;
  }
  if (!Array.isArray(list)) return undefined;
  if (!list.every((item) => typeof item === 'string')) throw new WordError('only strings may be in the list');
  return list;
}

/** Returns a JSON list as it is, and other text as an argument of the shell. */
export function commandLine(rest: string, shell: readonly string[] | null): readonly string[] {
  return jsonList(rest) ?? [...(shell?.length ? shell : DEFAULT_SHELL), rest];
}

export function splitOnSpace(text: string): string[] {
  return text.split(WHITE_SPACE).filter((word) => word !== '');
}

/**
 * Parses `NAME=value …`, or `NAME value` with all the rest as the value. Returns the words as they are
 * written.
 */
export function rawPairs(instruction: string, rest: string, escape: Escape): [string, string][] {
  const words = splitWords(rest, escape);
  const raw: [string, string][] = [];
  if (words[0]?.includes('=') === true) {
    for (const word of words) {
      const equals = word.indexOf('=');
      if (equals < 0) throw new WordError(`${word} is not of the form NAME=value`);
      raw.push([word.slice(0, equals), word.slice(equals + 1)]);
    }
  } else {
    const space = WHITE_SPACE.exec(rest);
    if (!space) throw new WordError(`${instruction} must have two arguments`);
    raw.push([rest.slice(0, space.index), rest.slice(space.index + space[0].length)]);
  }
  return raw;
}
