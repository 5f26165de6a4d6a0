/**
 * Keeps the event loop responsive when CPUs are scarce. The loop gets a higher priority than the threads that
 * hash and extract. It also collects its garbage on its own thread: together with V8's other threads it would
 * wait until they get a CPU (10 to 60 ms, while a collection of this small heap takes 1 ms). This is for the
 * process of a service; a library must not do this to its host.
 */
import { setFlagsFromString } from 'node:v8';
import { native } from '../../system/native.ts';
import type { Logger } from '../../system/log.ts';

/** Higher than most other processes of a busy machine. */
const NICE = -10;

/**
 * V8 reads these flags at every collection, so they may change at run time. The flag for concurrent marking
 * may not: turning it off at run time would crash. It matters for full collections only, and a load of 1 GB
 * has a handful of these beside a hundred small ones.
 */
const ALONE = [
  '--no-parallel-scavenge',
  '--no-concurrent-sweeping',
  '--no-concurrent-array-buffer-sweeping',
] as const;

/**
 * Applies to the whole process, from now on. Without the permission it logs that and leaves the priority
 * unchanged.
 */
export function keepResponsive(log: Logger): void {
  for (const flag of ALONE) setFlagsFromString(flag);
  if (!native.preferThisThread(NICE))
    log.debug('cannot raise the priority of the event loop: CAP_SYS_NICE is missing');
}
