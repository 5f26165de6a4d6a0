/** The mounts of all mount namespaces that this process can see. */
import { readdir, readFile, readlink } from 'node:fs/promises';

/** Returns the text of /proc/PID/mountinfo for each namespace, at most a thousand of them. */
export async function mountTables(): Promise<string[]> {
  const seen = new Map<string, string>();
  for (const pid of ['self', ...(await readdir('/proc')).filter((name) => /^\d+$/.test(name))]) {
    try {
      const namespace = await readlink(`/proc/${pid}/ns/mnt`);
      if (seen.has(namespace) || seen.size >= MAX_NAMESPACES) continue;
      seen.set(namespace, await readFile(`/proc/${pid}/mountinfo`, 'utf8'));
    } catch {
      // The process has ended, or is a thread of the kernel.
    }
  }
  return [...seen.values()];
}

const MAX_NAMESPACES = 1000;
