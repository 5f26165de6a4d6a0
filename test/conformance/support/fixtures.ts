/** Gives the tests the fixtures that the setup has made. */
import { inject } from 'vitest';
import type { Fixtures } from './setup.ts';

/** Returns the fixtures; only for tests that run with peers. */
export function fixtures(): Fixtures {
  const made = inject('fixtures');
  if (!made) throw new Error('the fixtures were not made: see test/support/peers.ts');
  return made;
}
