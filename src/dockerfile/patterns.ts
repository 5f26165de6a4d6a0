/**
 * Patterns of a shell in `${NAME#pattern}` and its like: `*` matches any text, `?` one character, and the
 * escape character makes the next one literal. All states of a pattern are followed side by side, so a
 * pattern cannot take exponential time.
 */
import { WordError } from './word-error.ts';

/** A literal character, or what matches any character or any text. */
type Token = { readonly literal: string } | 'one' | 'any';

/** A bound of the work, characters of the value squared times those of the pattern: a quarter of a second. */
const MAX_WORK = 1 << 28;

export interface TrimOptions {
  readonly pattern: string;
  readonly escape: string;
  /** Removes the longest match. Default: the shortest. */
  readonly longest: boolean;
  /** The match is at the end of the value, not at its beginning. */
  readonly atEnd: boolean;
}

/** Returns the value without what the pattern matches. @throws WordError */
export function trimMatch(value: string, { pattern, escape, longest, atEnd }: TrimOptions): string {
  const tokens = parse(pattern, escape);
  const characters = [...value];
  requireSmall(characters, tokens);
  if (!atEnd) return characters.slice(matchLength(characters, 0, tokens, longest) ?? 0).join('');
  const length = matchLength(characters.toReversed(), 0, tokens.toReversed(), longest) ?? 0;
  return characters.slice(0, characters.length - length).join('');
}

export interface ReplaceOptions {
  readonly pattern: string;
  readonly escape: string;
  readonly replacement: string;
  /** Replaces every match. Default: the first. */
  readonly all: boolean;
}

/** Returns the value with the longest matches of the pattern replaced. @throws WordError */
export function replaceMatch(value: string, { pattern, escape, replacement, all }: ReplaceOptions): string {
  const tokens = parse(pattern, escape);
  if (tokens.length === 0) return value;
  const characters = [...value];
  requireSmall(characters, tokens);
  let result = '';
  for (let at = 0; at < characters.length;) {
    const length = matchLength(characters, at, tokens, true) ?? 0;
    if (length === 0) {
      result += characters[at++] ?? '';
      continue;
    }
    result += replacement;
    at += length;
    if (!all) return result + characters.slice(at).join('');
  }
  return result;
}

function parse(pattern: string, escape: string): Token[] {
  const tokens: Token[] = [];
  let isEscaped = false;
  for (const character of pattern) {
    if (!isEscaped && character === escape) {
      isEscaped = true;
      continue;
    }
    if (!isEscaped && character === '*') tokens.push('any');
    else if (!isEscaped && character === '?') tokens.push('one');
    else tokens.push({ literal: character });
    isEscaped = false;
  }
  return tokens;
}

function requireSmall({ length }: readonly string[], tokens: readonly Token[]): void {
  if (length * length * tokens.length > MAX_WORK)
    throw new WordError(`a value of ${length} characters is too long for a pattern`);
}

/** Returns how many characters from `start` on the whole pattern matches; undefined for no match. */
function matchLength(
  characters: readonly string[],
  start: number,
  tokens: readonly Token[],
  longest: boolean,
): number | undefined {
  let found: number | undefined;
  let states = withSkipped(new Set([0]), tokens);
  for (let at = start; ; at++) {
    if (states.has(tokens.length)) {
      found = at - start;
      if (!longest) return found;
    }
    const character = characters[at];
    if (character === undefined || states.size === 0) return found;
    states = withSkipped(next(states, tokens, character), tokens);
  }
}

/** Returns the states after one more character. */
function next(states: ReadonlySet<number>, tokens: readonly Token[], character: string): Set<number> {
  const after = new Set<number>();
  for (const state of states) {
    const token = tokens[state];
    if (token === undefined) continue;
    if (token === 'any') after.add(state);
    else if (token === 'one' || token.literal === character) after.add(state + 1);
  }
  return after;
}

/** Adds the states behind each `*`, which may match nothing. A set also visits what is added to it. */
function withSkipped(states: Set<number>, tokens: readonly Token[]): Set<number> {
  for (const state of states) if (tokens[state] === 'any') states.add(state + 1);
  return states;
}
