/** An error in a Dockerfile, at its line. */
export class SourceError extends Error {
  /** The number of the line, from 1. */
  readonly line: number;
  /** The part of the line that is wrong; undefined for the whole line. */
  readonly part: string | undefined;

  constructor(line: number, message: string, part?: string, options?: ErrorOptions) {
    super(message, options);
    this.line = line;
    this.part = part;
  }
}

/** Returns the line of the error with a caret below the wrong part, as compilers print it. */
export function caretLines(text: string, { line, part }: SourceError): string[] {
  const source = (text.split('\n')[line - 1] ?? '').replace(/\r$/, '');
  const number = String(line);
  const found = part === undefined ? -1 : source.indexOf(part);
  const column = found < 0 ? source.length - source.trimStart().length : found;
  const start = Math.max(0, column - SHOWN / 2);
  const shown = source.slice(start, start + SHOWN);
  // A tab before the caret is kept, so that both lines are indented alike.
  const indent = source.slice(start, column).replace(/[^\t]/g, ' ');
  return [`  ${number} | ${shown}`, `  ${' '.repeat(number.length)} | ${indent}^`];
}

/** The characters that are shown of a long line. */
const SHOWN = 120;
