/**
 * What the setup has made, for the tests.
 */
import { inject } from 'vitest';
import type { Fixtures } from './setup.ts';

/** The fixtures; only for tests that run with peers. */
export function fixtures(): Fixtures {
  const made = inject('fixtures');
  if (!made) throw new Error('the fixtures were not made: see test/support/peers.ts');
  return made;
}
