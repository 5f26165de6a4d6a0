/**
 * Parses a text into the instructions of a Dockerfile: comments, directives, continued lines, flags and
 * heredocs. Mirrors `moby/buildkit: frontend/dockerfile/parser/{parser,split_command}.go`. dockerd 20.10 has
 * an older copy of it, without heredocs.
 */
import { LayerstackError } from '../core/errors.ts';
import { heredocsOf, type Heredoc, type HeredocStart } from './heredocs.ts';
import { SourceError } from './source-error.ts';
import { splitWords, trimSpace, trimSpaceLeft, type Escape } from './words.ts';
import { WordError } from './word-error.ts';

export interface DockerfileInstruction {
  /** In upper case. */
  readonly name: string;
  /** The flags as they are written, e.g. `--from=build`. */
  readonly flags: readonly string[];
  /** The text after the name and the flags. */
  readonly rest: string;
  /** The whole instruction, with continued lines joined. */
  readonly line: string;
  /** The number of its first line, from 1. */
  readonly at: number;
  readonly heredocs: readonly Heredoc[];
}

export interface Dockerfile {
  readonly escape: Escape;
  /** The frontend of BuildKit that the file asks for, e.g. `docker/dockerfile:1`. */
  readonly syntax: string | undefined;
  readonly instructions: readonly DockerfileInstruction[];
}

const DIRECTIVE = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const DIRECTIVES = ['check', 'escape', 'syntax'];
/** Separates an instruction from its arguments, and arguments from each other where quotes do not count. */
export const WHITE_SPACE = /[\t\v\f\r ]+/;

/** The size of a whole file. Generated Dockerfiles of 10,000 lines are smaller. */
const MAX_BYTES = 4 << 20;
/** Go's `bufio.MaxScanTokenSize`. dockerd refuses longer lines too. */
const MAX_LINE_BYTES = (64 << 10) - 1;

/**
 * Continues the line where it is the last character. Two of them do not continue it: the first escapes the
 * second.
 */
const CONTINUES: Readonly<Record<Escape, RegExp>> = {
  '\\': /(^|[^\\])\\[ \t]*$/,
  '`': /(^|[^`])`[ \t]*$/,
};

/**
 * @throws {@link WordError} for a wrong directive, or a text without instructions; {@link SourceError} for an
 *   instruction that is wrong; {@link LayerstackError} ERR_LIMIT_EXCEEDED for a text that is too large.
 */
export function parseDockerfile(text: string): Dockerfile {
  if (text.length > MAX_BYTES)
    throw new LayerstackError('ERR_LIMIT_EXCEEDED', `it is larger than ${MAX_BYTES >> 20} MiB`, {
      limit: MAX_BYTES,
    });
  const lines = text.replace(/^\ufeff/, '').split('\n');
  for (const [index, line] of lines.entries())
    if (Buffer.byteLength(line) > MAX_LINE_BYTES)
      throw new SourceError(index + 1, `the line is longer than ${MAX_LINE_BYTES} bytes`);
  const reader = new LineReader(lines.map((line) => line.replace(/\r+$/, '')));
  const { escape = '\\', syntax } = directivesOf(reader.lines);
  const instructions = [...reader.instructions(escape)];
  if (instructions.length === 0) throw new WordError('it has no instruction');
  return { escape, syntax, instructions };
}

/** Directives are the first comments of the text. */
function directivesOf(lines: readonly string[]): { escape?: Escape; syntax?: string } {
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
  const syntax = found.get('syntax');
  return { escape, ...(syntax !== undefined && { syntax }) };
}

class LineReader {
  readonly lines: readonly string[];
  #at = 0;

  constructor(lines: readonly string[]) {
    this.lines = lines;
  }

  /** Joins continued lines. Comments and empty lines in between do not end them. */
  *instructions(escape: Escape): Generator<DockerfileInstruction, void, undefined> {
    const continues = CONTINUES[escape];
    let open: string | undefined;
    let first = 0;
    while (this.#at < this.lines.length) {
      const line = this.lines[this.#at++] ?? '';
      const start = trimSpaceLeft(line);
      if (start === '' || start.startsWith('#')) continue;
      if (open === undefined) first = this.#at;
      // White space before the text of a continued line is part of it.
      open = (open ?? '') + (open === undefined ? start : line).replace(continues, '$1');
      if (continues.test(line)) continue;
      yield this.#instruction(open, first, escape);
      open = undefined;
    }
    if (open !== undefined) yield this.#instruction(open, first, escape);
  }

  #instruction(line: string, at: number, escape: Escape): DockerfileInstruction {
    const { name, rest: all } = splitInstruction(line);
    const { flags, rest } = splitFlags(all, escape);
    const heredocs = heredocsOf(name, rest, escape).map((heredoc) => this.#heredoc(heredoc, at));
    return { name, flags, rest: trimSpace(rest), line, at, heredocs };
  }

  /** Reads the lines of a heredoc up to its end. */
  #heredoc(start: HeredocStart, at: number): Heredoc {
    const from = this.#at;
    while (this.#at < this.lines.length) {
      const line = this.lines[this.#at++] ?? '';
      const word = start.stripsTabs ? line.replace(/^\t+/, '') : line;
      if (word !== start.name) continue;
      const lines = this.lines.slice(from, this.#at - 1);
      const content = lines.map((each) => `${each}\n`).join('');
      return { ...start, content };
    }
    throw new SourceError(at, `the heredoc ${start.name} is not closed`, `<<`);
  }
}

/** Splits a line into an instruction's name, in upper case, and the rest. */
export function splitInstruction(line: string): { readonly name: string; readonly rest: string } {
  const trimmed = trimSpace(line);
  const at = WHITE_SPACE.exec(trimmed);
  return { name: trimmed.slice(0, at?.index).toUpperCase(), rest: at ? trimmed.slice(at.index) : '' };
}

/** Splits the flags off. `--` ends them. */
export function splitFlags(
  text: string,
  escape: Escape,
): { readonly flags: string[]; readonly rest: string } {
  const flags: string[] = [];
  let rest = trimSpaceLeft(text);
  while (rest.startsWith('--')) {
    const flag = splitWords(rest, escape)[0] ?? '';
    rest = trimSpaceLeft(rest.slice(flag.length));
    if (flag === '--') break;
    flags.push(flag);
  }
  return { flags, rest };
}
