/** The group that a socket shall belong to: a number, or a name that /etc/group knows. */
import { readFile } from 'node:fs/promises';
import { LayerstackError } from '../../core/errors.ts';

/** The kernel's -1 means "no change" to chown(2). */
const MAX_GID = 0xffff_fffe;

/**
 * The id of a group.
 * @throws {@link LayerstackError} ERR_USER_NOT_FOUND where there is no such group.
 */
export async function groupId(group: string, database = '/etc/group'): Promise<number> {
  if (/^\d{1,10}$/.test(group) && Number(group) <= MAX_GID) return Number(group);
  for (const line of (await readFile(database, 'utf8')).split('\n')) {
    const [name, , id = ''] = line.split(':');
    if (name === group && /^\d{1,10}$/.test(id) && Number(id) <= MAX_GID) return Number(id);
  }
  throw new LayerstackError(
    'ERR_USER_NOT_FOUND',
    `there is no group ${JSON.stringify(group)} in ${database}: make it (groupadd --system ${group}) or give its number`,
    { path: database },
  );
}
