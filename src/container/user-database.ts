/** Reads the user database of a mounted root file system. No link leads out of the root file system. */
import { call, native } from '../system/native.ts';
import type { UserDatabase } from './user.ts';

/** The limit for passwd and group, which are read whole. A real user database is smaller. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Returns /etc/passwd and /etc/group; empty when they are missing. */
export async function readUserDatabase(rootfs: string): Promise<UserDatabase> {
  const readText = async (path: string): Promise<string> =>
    new TextDecoder().decode((await call(native.readFileInRoot(rootfs, path, MAX_BYTES))) ?? undefined);
  const [passwd, group] = await Promise.all([readText('/etc/passwd'), readText('/etc/group')]);
  return { passwd, group };
}
