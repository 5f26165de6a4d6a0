/** A command on a pseudo-terminal of its own, by util-linux's script(1). */
import { run } from './process.ts';

export interface TerminalRun {
  readonly status: number | null;
  /** All that reached the terminal, with plain newlines. */
  readonly text: string;
}

/** Runs `program`; what `input` holds is typed. */
export async function runOnTerminal(
  program: string,
  args: readonly string[],
  { input = '', env = {} }: { readonly input?: string; readonly env?: Record<string, string> } = {},
): Promise<TerminalRun> {
  const quoted = [program, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const ran = await run('script', ['-qec', `stty cols 200; ${quoted}`, '/dev/null'], { input, env });
  return { status: ran.status, text: ran.stdout.replaceAll('\r\n', '\n') };
}

/** What was drawn on a line that was drawn again and again, piece by piece. */
export function redrawn(text: string): string[] {
  return text.split('\u001b[K').map((piece) => piece.replace(/\r$/, ''));
}

/** What layerstack itself tells a terminal, to draw in place. */
// eslint-disable-next-line no-control-regex -- control characters are the point
const DRAWING = /\r?\u001b\[(?:K|J|\d+A)/g;

/** What drives a terminal, or cannot be seen on it; empty where the text is harmless. */
export function harmful(text: string): string[] {
  return text.replace(DRAWING, '').match(/[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]/gu) ?? [];
}
