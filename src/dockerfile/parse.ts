/**
 * Parses a text into the instructions of a Dockerfile: comments, the escape directive, continued lines and
 * flags. Mirrors `moby/buildkit: frontend/dockerfile/parser/{parser,split_command}.go` as dockerd 20.10 has
 * them.
 */
import { trimSpace, trimSpaceLeft, WordError, type Escape } from './words.ts';

export interface DockerfileInstruction {
  /** In upper case. */
  readonly name: string;
  /** The text after the name and the flags. */
  readonly rest: string;
  /** The whole instruction, with continued lines joined. */
  readonly line: string;
}

export interface Dockerfile {
  readonly escape: Escape;
  readonly instructions: readonly DockerfileInstruction[];
}

const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const DIRECTIVES = ['escape', 'syntax'];
/** Separates an instruction from its arguments, and arguments from each other where quotes do not count. */
export const WHITE_SPACE = /[\t\v\f\r ]+/;

/**
 * Continues the line where it is the last character. Two of them do not continue it: the first escapes the
 * second.
 */
const CONTINUES: Readonly<Record<Escape, RegExp>> = {
  '\\': /(^|[^\\])\\[ \t]*$/,
  '`': /(^|[^`])`[ \t]*$/,
};

/** @throws {@link WordError} for a wrong directive, a flag, or a text without instructions. */
export function parseDockerfile(text: string): Dockerfile {
  const lines = text
    .replace(/^\ufeff/, '')
    .split('\n')
    .map((line) => line.replace(/\r+$/, ''));
  const escape = escapeOf(lines);
  const instructions = joined(lines, CONTINUES[escape]).map(parseInstruction);
  if (instructions.length === 0) throw new WordError('it has no instruction');
  return { escape, instructions };
}

/** Directives are the first comments of the text. */
function escapeOf(lines: readonly string[]): Escape {
  const found = new Map<string, string>();
  for (const line of lines) {
    const [, key = '', value = ''] = DIRECTIVE.exec(trimSpaceLeft(line)) ?? [];
    const name = key.toLowerCase();
    if (!DIRECTIVES.includes(name)) break;
    if (found.has(name)) throw new WordError(`only one ${name} parser directive can be used`);
    found.set(name, value);
  }
  const escape = found.get('escape') ?? '\\';
  if (escape !== '\\' && escape !== '`')
    throw new WordError(`invalid escape token '${escape}' does not match \` or \\`);
  return escape;
}

/** Joins continued lines. Comments and empty lines in between do not end them. */
function joined(lines: readonly string[], continues: RegExp): string[] {
  const result: string[] = [];
  let open: string | undefined;
  for (const line of lines) {
    const start = trimSpaceLeft(line);
    if (start === '' || start.startsWith('#')) continue;
    // White space before the text of a continued line is part of it.
    const whole = (open ?? '') + (open === undefined ? start : line).replace(continues, '$1');
    open = continues.test(line) ? whole : undefined;
    if (open === undefined) result.push(whole);
  }
  return open === undefined ? result : [...result, open];
}

function parseInstruction(line: string): DockerfileInstruction {
  const { name, rest } = splitInstruction(line);
  return { name, rest: trimSpace(withoutFlags(rest)), line };
}

/** Splits a line into an instruction's name, in upper case, and the rest. */
export function splitInstruction(line: string): { readonly name: string; readonly rest: string } {
  const trimmed = trimSpace(line);
  const at = WHITE_SPACE.exec(trimmed);
  return { name: trimmed.slice(0, at?.index).toUpperCase(), rest: at ? trimmed.slice(at.index) : '' };
}

/** Refuses flags, which instructions that change a config do not have. `--` ends flags. */
function withoutFlags(text: string): string {
  const [whole = '', flag] = /^\s*--(\S*)/.exec(text) ?? [];
  if (flag === undefined) return text;
  if (flag !== '') throw new WordError(`unknown flag: ${flag.replace(/=.*/s, '')}`);
  return text.slice(whole.length);
}
