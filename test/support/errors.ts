/** Returns the error of a call that must fail. */
import { LayerstackError } from '../../src/core/errors.ts';

/** Returns the code of the LayerstackError that `call` throws. @throws Error if it throws none. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (LayerstackError.is(error)) return error.code;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** Returns the LayerstackError that `promise` rejects with. @throws Error if it does not reject. */
export async function rejection(promise: Promise<unknown>): Promise<LayerstackError> {
  try {
    await promise;
  } catch (error) {
    if (LayerstackError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
