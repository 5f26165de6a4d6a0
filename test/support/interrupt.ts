/** Makes native calls of this process fail at a chosen step, or from that step on. */
import { vi } from 'vitest';
import { native, type BatchStep } from '../../src/system/native.ts';

/** Returns a system error in the form of the kernel's. */
export function systemError(code: string, errno: number): Error {
  return Object.assign(new Error(`${code}: injected`), { code, errno: -errno, syscall: 'injected' });
}

export const FAULTS = {
  ENOSPC: systemError('ENOSPC', 28),
  EIO: systemError('EIO', 5),
  EMFILE: systemError('EMFILE', 24),
} as const;

export interface Interruption {
  /** The first step that is not done, from 0. */
  readonly at: number;
  readonly error: Error;
  /** All later steps fail too, as if the process had died there. Otherwise only this step fails. */
  readonly dying?: boolean;
}

/**
 * Counts every step of `native.batch` and every tree of `native.removeTree`, until `vi.restoreAllMocks()`.
 * @returns a function that says whether the step was reached
 */
export function interrupt({ at, error, dying = false }: Interruption): () => boolean {
  const { batch, removeTree } = native;
  let next = 0;
  const step = (): void => {
    const reached = next++;
    if (reached === at || (dying && reached > at)) throw error;
  };
  vi.spyOn(native, 'batch').mockImplementation(async (root: string, steps: readonly BatchStep[]) => {
    for (const one of steps) {
      step();
      await batch(root, [one]);
    }
  });
  vi.spyOn(native, 'removeTree').mockImplementation(
    async (root: string, paths: string | readonly string[]) => {
      let removed = 0;
      for (const path of [paths].flat()) {
        step();
        removed += await removeTree(root, path);
      }
      return removed;
    },
  );
  return () => next > at;
}
