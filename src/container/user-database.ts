/** The user database of a mounted root file system, read without leaving it. */
import { call, native } from '../system/native.ts';
import type { UserDatabase } from './user.ts';

/** passwd and group are read whole; larger ones are no user databases. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Its /etc/passwd and /etc/group; empty where they are missing. */
export async function readUserDatabase(rootfs: string): Promise<UserDatabase> {
  const readText = async (path: string): Promise<string> =>
    new TextDecoder().decode((await call(native.readFileInRoot(rootfs, path, MAX_BYTES))) ?? undefined);
  const [passwd, group] = await Promise.all([readText('/etc/passwd'), readText('/etc/group')]);
  return { passwd, group };
}
