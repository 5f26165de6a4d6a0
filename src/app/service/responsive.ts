/**
 * Keeps the event loop quick where CPUs are short. It goes before the threads that hash and extract; and it collects its
 * garbage by itself, since collecting together with V8's other threads it would wait for them to get a CPU (10 to 60 ms where a
 * collection of this small heap takes 1 ms). For the process of a service; a library must not do this to its host.
 */
import { setFlagsFromString } from 'node:v8';
import { native } from '../../system/native.ts';
import type { Logger } from '../../system/log.ts';

/** Also before most else on a busy machine. */
const NICE = -10;

/**
 * V8 looks at these at every collection, so that they may change while it runs. (Turning concurrent marking off then would
 * crash; it is used for full collections only, of which a load of 1 GB makes a handful beside a hundred small ones.)
 */
const ALONE = [
  '--no-parallel-scavenge',
  '--no-concurrent-sweeping',
  '--no-concurrent-array-buffer-sweeping',
] as const;

/** From now on, for the whole process. Where it is not allowed it is said and left. */
export function keepResponsive(log: Logger): void {
  for (const flag of ALONE) setFlagsFromString(flag);
  if (!native.preferThisThread(NICE))
    log.debug('the event loop has no higher priority: CAP_SYS_NICE is missing');
}
