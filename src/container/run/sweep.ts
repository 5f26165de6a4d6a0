/** Ends the runs whose processes have ended: removes their parts. */
import type { FileHandle } from 'node:fs/promises';
import { isHex64 } from '../../core/digest.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { call, native } from '../../system/native.ts';
import { lockDead } from '../../system/reconcile.ts';
import { bootId } from '../../system/processes.ts';
import { listEntries } from '../../system/removal.ts';
import type { Root } from '../../system/root.ts';
import { readContainer, type Container } from '../record.ts';
import { isAlive, parseRunName, readRunRecord } from './directory.ts';
import { forgetContainer } from './runtime.ts';

/** The operations on containers that end a run. */
export interface RunContainers {
  remove(container: Container, options: { readonly force: boolean }): Promise<unknown>;
  isMounted(container: Container): Promise<boolean>;
  unmount(container: Container): Promise<unknown>;
}

/** Ends every run that is over. Logs a run that cannot be ended; the next writer tries again. */
export async function sweepRuns(root: Root, containers: RunContainers): Promise<void> {
  const { layout, log } = root;
  for (const name of await listEntries(layout, layout.runs)) {
    let lock: FileHandle | undefined;
    try {
      lock = await lockDead(layout, layout.run(name));
      if (lock !== undefined) await endRun(root, containers, name);
    } catch (error) {
      if (!LayerstackError.is(error) && !isSystemError(error)) throw error;
      log.warn('parts of an ended run cannot be removed yet', { run: name, error: String(error) });
    } finally {
      await lock?.close();
    }
  }
}

/** The caller holds the lock of the run. */
async function endRun(root: Root, containers: RunContainers, name: string): Promise<void> {
  const { layout, log } = root;
  const { id, remove } = parseRunName(name);
  if (!isHex64(id)) return;
  const record = readRunRecord(layout, name);
  // A store may come from elsewhere. So the runtime that it names is started only if the record was written
  // in this boot. Runtimes forget their containers at a reboot anyway.
  if (record?.bootId === bootId()) {
    if (await isAlive(id, record)) return;
    await forgetContainer(record.runtime, id);
  }
  log.info('removing the parts of an ended run', { id });
  const container = readContainer(layout, id);
  if (container !== undefined) await giveBack(containers, container, remove);
  await call(native.removeTree(layout.root, layout.run(name)));
}

/** Ends the use of the mount by a run, or removes the container with `remove`. */
export async function giveBack(
  containers: RunContainers,
  container: Container,
  remove: boolean,
): Promise<void> {
  if (remove) await containers.remove(container, { force: true });
  else if (await containers.isMounted(container)) await containers.unmount(container);
}
