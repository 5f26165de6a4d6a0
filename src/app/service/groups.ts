/** Finds the group that a socket shall belong to: a number, or a name in /etc/group. */
import { readFile } from 'node:fs/promises';
import { LayerstackError } from '../../core/errors.ts';

/** The kernel's -1 means "no change" to chown(2). */
const MAX_GID = 0xffff_fffe;

/**
 * Returns the id of a group.
 * @throws {@link LayerstackError} ERR_USER_NOT_FOUND if the group does not exist.
 */
export async function groupId(group: string, database = '/etc/group'): Promise<number> {
  if (/^\d{1,10}$/.test(group) && Number(group) <= MAX_GID) return Number(group);
  for (const line of (await readFile(database, 'utf8')).split('\n')) {
    const [name, , id = ''] = line.split(':');
    if (name === group && /^\d{1,10}$/.test(id) && Number(id) <= MAX_GID) return Number(id);
  }
  throw new LayerstackError(
    'ERR_USER_NOT_FOUND',
    `the group ${JSON.stringify(group)} does not exist in ${database}: create it (groupadd --system ${group}) or give its number`,
    { path: database },
  );
}
