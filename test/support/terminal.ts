/** Runs a command on its own pseudo-terminal, with util-linux's script(1). */
import { run } from './process.ts';

export interface TerminalRun {
  readonly status: number | null;
  /** All text that reached the terminal, with plain newlines. */
  readonly text: string;
}

/** Runs `program`, and types `input`. */
export async function runOnTerminal(
  program: string,
  args: readonly string[],
  { input = '', env = {} }: { readonly input?: string; readonly env?: Record<string, string> } = {},
): Promise<TerminalRun> {
  const quoted = [program, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const ran = await run('script', ['-qec', `stty cols 200; ${quoted}`, '/dev/null'], { input, env });
  return { status: ran.status, text: ran.stdout.replaceAll('\r\n', '\n') };
}

/** Returns the successive texts of a line that was redrawn. */
export function redrawn(text: string): string[] {
  return text.split('\u001b[K').map((piece) => piece.replace(/\r$/, ''));
}

/** The control sequences that layerstack itself sends to redraw in place. */
// eslint-disable-next-line no-control-regex -- control characters are the point
const DRAWING = /\r?\u001b\[(?:K|J|\d+A)/g;

/** Returns characters that control a terminal or are invisible on it; empty if the text is harmless. */
export function harmful(text: string): string[] {
  return text.replace(DRAWING, '').match(/[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]/gu) ?? [];
}
