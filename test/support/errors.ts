/** The code of what a call throws or rejects with. */
import { LayerstackError } from '../../src/core/errors.ts';

/** The code of the LayerstackError that `call` throws. @throws Error when it throws none. */
export function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (LayerstackError.is(error)) return error.code;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The LayerstackError that `promise` rejects with. @throws Error when it does not. */
export async function rejection(promise: Promise<unknown>): Promise<LayerstackError> {
  try {
    await promise;
  } catch (error) {
    if (LayerstackError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
