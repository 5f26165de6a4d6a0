/** Asks questions on the terminal. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { abortError } from '../../core/abort.ts';
import { printable } from '../../core/printable.ts';
import type { Context } from './command.ts';

/**
 * Returns the text that the user types, without the newline. Writes the question to stderr. A secret is not
 * shown while it is typed.
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
  // readline writes the question when it draws the line. For a secret it draws nothing, so the question is
  // written here.
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

/**
 * Asks a question in the program's own words. Any answer but yes means no, and so does the end of the input.
 */
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
