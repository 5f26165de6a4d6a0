/** Distinguishes processes with the same id: by the boot, and by the time at which they started. */
import { readFileSync } from 'node:fs';
import { isSystemError } from '../core/errors.ts';

let currentBoot: string | undefined;

/** Returns the kernel's id of this boot. */
export function bootId(): string {
  return (currentBoot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
}

/** Returns when a process started, in clock ticks since the boot; undefined where it does not run. */
export function processStart(pid: number): string | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
  // The name of the program, in parentheses, may hold spaces and parentheses. It is the second field.
  const [state, ...fields] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' || state === 'X' ? undefined : fields[18];
}
