/** Questions on the terminal. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { abortError } from '../../core/abort.ts';
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
  const ended = new AbortController();
  // readline redraws the line that it asks on; of a secret it draws nothing.
  if (secret) stderr.write(question);
  const lines = createInterface({ input: stdin, output: secret ? nowhere : stderr, terminal: true });
  lines.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  lines.on('close', () => ended.abort(new Error('the input has ended')));
  const stop = AbortSignal.any([signal, ended.signal]);
  try {
    return await lines.question(secret ? '' : question, { signal: stop });
  } catch (error) {
    throw stop.aborted ? abortError(stop) : error;
  } finally {
    lines.close();
    if (secret) stderr.write('\n');
  }
}
