/**
 * Runs commands that take several names. Each name is tried, as in docker: a failure does not stop the
 * others.
 */
import { LayerstackError } from '../../core/errors.ts';
import type { Context } from './command.ts';
import { describeError } from './errors.ts';

/**
 * Calls `work` for each name, one after the other.
 * @throws the last failure; earlier failures are printed on stderr.
 */
export async function forEachName(
  { stderr, signal }: Pick<Context, 'stderr' | 'signal'>,
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<void> {
  let failure: LayerstackError | undefined;
  for (const name of names) {
    try {
      await work(name);
    } catch (error) {
      if (!LayerstackError.is(error) || signal.aborted) throw error;
      if (failure) stderr.print(describeError(failure).line);
      failure = error;
    }
  }
  if (failure) throw failure;
}
