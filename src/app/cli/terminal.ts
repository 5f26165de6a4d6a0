/**
 * Writes all text to standard output and standard error. No other file of the command writes to them, or
 * holds an escape sequence (test/unit/app/terminal.test.ts checks it). Text for a terminal is made printable,
 * wherever it comes from; files and pipes get it byte for byte.
 */
import { printable } from '../../core/printable.ts';

const CLEAR_LINE = '\r\u001b[K';
const CLEAR_BELOW = '\u001b[J';

/** A stream to write to, a terminal or not. */
export class Output {
  /** For Node's readline, which echoes what the user types. */
  readonly stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.stream = stream;
  }

  get isTerminal(): boolean {
    return this.stream.isTTY;
  }

  /** Whether it is a terminal that can redraw a line. */
  get canRedraw(): boolean {
    return this.isTerminal && process.env['TERM'] !== 'dumb';
  }

  /** Characters that fit on a line. */
  get columns(): number {
    return this.stream.columns || 80;
  }

  /** Lines that fit on the terminal. */
  get rows(): number {
    return this.stream.rows || 24;
  }

  /**
   * Writes each text on a line of its own. On a terminal a text stays on one line, even if it holds line
   * breaks.
   */
  print(...lines: readonly string[]): void {
    if (lines.length === 0) return;
    const shown = this.isTerminal ? lines.map(showLine) : lines;
    this.stream.write(`${shown.join('\n')}\n`);
  }

  /** Writes a text and leaves the cursor after it. */
  prompt(text: string): void {
    this.stream.write(this.isTerminal ? printable(text) : text);
  }

  /**
   * On a terminal: writes the line with the cursor anew, and leaves the cursor there. An empty text clears
   * the line.
   */
  redrawLine(text: string): void {
    this.stream.write(`${CLEAR_LINE}${this.#fit(text)}`);
  }

  /** On a terminal: replaces the `above` lines above the cursor by `lines`, each cut to the width. */
  redrawBlock(lines: readonly string[], above: number): void {
    const up = above > 0 ? `\r\u001b[${String(above)}A` : '';
    const shown = lines.map((line) => `${CLEAR_LINE}${this.#fit(line)}\n`);
    this.stream.write(`${up}${shown.join('')}${CLEAR_BELOW}`);
  }

  #fit(text: string): string {
    return printable(text).slice(0, this.columns - 1);
  }
}

/** Makes a line printable. Keeps the tabs that indent it: they do no harm. */
function showLine(line: string): string {
  const text = line.replace(/^\t+/, '');
  return line.slice(0, line.length - text.length) + printable(text);
}

let stdout: Output | undefined;
let stderr: Output | undefined;

/** The outputs of this process. Each is made on its first use, because that takes Node milliseconds. */
export const processOutputs = {
  get stdout(): Output {
    return (stdout ??= new Output(process.stdout));
  },
  get stderr(): Output {
    return (stderr ??= new Output(process.stderr));
  },
};

/**
 * Returns the streams for the output of a program that the user runs by `run`. That output is passed on byte
 * for byte, on a terminal too.
 */
export function programOutputs(): Readonly<Record<'stdout' | 'stderr', NodeJS.WritableStream>> {
  return { stdout: processOutputs.stdout.stream, stderr: processOutputs.stderr.stream };
}
