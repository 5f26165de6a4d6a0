/**
 * Resolves the user of a container's process: the `User` of an image config (`name` or `uid`, either with
 * `:group` or `:gid`). It is looked up in the root file system's own /etc/passwd and /etc/group, by runc's
 * rules (opencontainers/runc: libcontainer/user). A number is always an id and need not be listed. A name
 * must be listed. Supplementary groups are looked up only when no group is given.
 */
import { LayerstackError } from '../core/errors.ts';

/** The facts for `process.user` of the OCI runtime spec, and for HOME. */
export interface RootfsUser {
  readonly uid: number;
  readonly gid: number;
  /** The primary group first, as dockerd sets it since CVE-2022-36109. */
  readonly additionalGids: readonly number[];
  /** From passwd; undefined if the user is not listed. */
  readonly home: string | undefined;
}

/** The two files of the root file system, as text; empty when they are missing. */
export interface UserDatabase {
  readonly passwd: string;
  readonly group: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** runc's limit: an id fits into a signed 32-bit integer. */
const MAX_ID = 0x7fffffff;

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
}

function fieldsOf(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

/**
 * Parses passwd. Skips malformed lines, as runc does: the file comes from the image, and may hold anything.
 */
function parsePasswd(text: string): PasswdEntry[] {
  return fieldsOf(text).flatMap(([name = '', , uid, gid, , home = '']) => {
    const entry = { name, uid: numberOf(uid), gid: numberOf(gid), home };
    return entry.uid === undefined || entry.gid === undefined
      ? []
      : [{ name, uid: entry.uid, gid: entry.gid, home }];
  });
}

function parseGroup(text: string): GroupEntry[] {
  return fieldsOf(text).flatMap(([name = '', , gid, members = '']) => {
    const id = numberOf(gid);
    return id === undefined ? [] : [{ name, gid: id, members: members.split(',').filter(Boolean) }];
  });
}

function unlisted(what: 'user' | 'group', wanted: string): LayerstackError {
  return new LayerstackError(
    'ERR_USER_NOT_FOUND',
    `${what} ${JSON.stringify(wanted)} is not in the image's /etc/${what === 'user' ? 'passwd' : 'group'}: ` +
      `give a number or another user`,
    { id: wanted },
  );
}

function checkedId(id: number, text: string): number {
  if (id > MAX_ID)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `id ${text} is outside 0 to ${MAX_ID}`, { id: text });
  return id;
}

/**
 * Resolves `spec` (empty means root) and additional groups of the process in the root file system's own
 * files.
 * @throws LayerstackError ERR_USER_NOT_FOUND when a name is not listed, ERR_INVALID_ARGUMENT when an id is
 *   too large.
 */
export function resolveUser(
  spec: string,
  database: UserDatabase,
  groupAdd: readonly string[] = [],
): RootfsUser {
  const user = ofSpec(spec, database);
  if (groupAdd.length === 0) return user;
  const groups = parseGroup(database.group);
  const added = groupAdd.map((text) => groupNamed(text, groups));
  return { ...user, additionalGids: [...new Set([...user.additionalGids, ...added])] };
}

/** Resolves a group. A number is an id, whether it is listed or not. */
function groupNamed(text: string, groups: readonly GroupEntry[]): number {
  const id = numberOf(text);
  const group = groups.find((entry) => (id === undefined ? entry.name === text : entry.gid === id));
  if (!group && id === undefined) throw unlisted('group', text);
  return group?.gid ?? checkedId(id ?? 0, text);
}

function ofSpec(spec: string, database: UserDatabase): RootfsUser {
  const colon = spec.indexOf(':');
  const userText = colon < 0 ? spec : spec.slice(0, colon);
  const groupText = colon < 0 ? '' : spec.slice(colon + 1);
  const userId = userText === '' ? 0 : numberOf(userText);

  const user = parsePasswd(database.passwd).find((entry) =>
    userId === undefined ? entry.name === userText : entry.uid === userId,
  );
  if (!user && userId === undefined) throw unlisted('user', userText);
  const uid = user?.uid ?? checkedId(userId ?? 0, userText);

  const groups = parseGroup(database.group);
  if (groupText !== '') {
    const gid = groupNamed(groupText, groups);
    return { uid, gid, additionalGids: [gid], home: user?.home };
  }
  const gid = user?.gid ?? 0;
  const member = groups.filter((entry) => user !== undefined && entry.members.includes(user.name));
  const additionalGids = [...new Set([gid, ...member.map((entry) => entry.gid)])];
  return { uid, gid, additionalGids, home: user?.home };
}
