/** The names of snapshots. A name is unique among the snapshots of a store. */
import { isHex64 } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { isContainerName } from '../container/names.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * Returns the keys of the locks under which a new snapshot gets its name.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad name.
 */
export function nameKeys(name: string | undefined): string[] {
  if (name === undefined) return [];
  if (isContainerName(name) && !isHex64(name)) return [`snapshot:${name}`];
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${JSON.stringify(name)} cannot be the name of a snapshot: use letters, digits, '_', '.' and '-', ` +
      'and begin with a letter or digit; 2 to 255 characters',
    { key: 'options.name' },
  );
}

/**
 * Requires that none of the snapshots has the name.
 * @throws {@link LayerstackError} ERR_SNAPSHOT_NAME_IN_USE.
 */
export function requireFreeName(all: readonly Snapshot[], name: string): void {
  const taken = all.find((snapshot) => snapshot.name === name);
  if (taken)
    throw new LayerstackError(
      'ERR_SNAPSHOT_NAME_IN_USE',
      `snapshot ${taken.id.slice(0, 12)} is called ${name} already: choose another name, or remove it`,
      { id: taken.id },
    );
}
