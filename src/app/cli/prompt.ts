/** Questions on the terminal. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { abortError } from '../../core/abort.ts';
import { printable } from '../../core/printable.ts';
import type { Context } from './command.ts';

/**
 * What the user types, without the newline. The question is written to stderr; a secret is not shown while it is typed.
 * @throws {@link LayerstackError} ERR_ABORTED on a signal, on Ctrl-C and at the end of the input.
 */
export async function ask(
  { stdin, stderr, signal }: Pick<Context, 'stdin' | 'stderr' | 'signal'>,
  question: string,
  { secret = false } = {},
): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const shown = printable(question);
  const ended = new AbortController();
  // readline redraws the line that it asks on; of a secret it draws nothing.
  if (secret) stderr.prompt(question);
  const lines = createInterface({ input: stdin, output: secret ? nowhere : stderr.stream, terminal: true });
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  lines.on('close', () => ended.abort(new Error('the input has ended')));
  const stop = AbortSignal.any([signal, ended.signal]);
  try {
    return await lines.question(secret ? '' : shown, { signal: stop });
  } catch (error) {
    throw stop.aborted ? abortError(stop) : error;
  } finally {
    lines.close();
    if (secret) stderr.print('');
  }
}

/** Asks a question of the program's own words. Anything but a yes, the end of the input included, is a no. */
export async function confirm(
  { stdin, stderr, signal }: Pick<Context, 'stdin' | 'stderr' | 'signal'>,
  question: string,
): Promise<boolean> {
  const lines = createInterface({ input: stdin, output: stderr.stream });
  try {
    const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    const answer = await Promise.race([lines.question(question, { signal }), ended]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
