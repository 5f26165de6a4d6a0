/** Ends the runs whose processes are gone: removes what they left. */
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

/** What a run needs to give a container back. */
export interface RunContainers {
  remove(container: Container, options: { readonly force: boolean }): Promise<unknown>;
  isMounted(container: Container): Promise<boolean>;
  unmount(container: Container): Promise<unknown>;
}

/** Ends every run that is over. A run that cannot be ended stays for the next writer; that is logged. */
export async function sweepRuns(root: Root, containers: RunContainers): Promise<void> {
  const { layout, log } = root;
  for (const name of await listEntries(layout, layout.runs)) {
    let lock: FileHandle | undefined;
    try {
      lock = await lockDead(layout, layout.run(name));
      if (lock !== undefined) await endRun(root, containers, name);
    } catch (error) {
      if (!LayerstackError.is(error) && !isSystemError(error)) throw error;
      log.warn('what an ended run has left cannot be removed yet', { run: name, error: String(error) });
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
  log.info('removing what an ended run has left', { id });
  const container = readContainer(layout, id);
  if (container !== undefined) await giveBack(containers, container, remove);
  await call(native.removeTree(layout.root, layout.run(name)));
}

/** Ends the use that a run had of its container's mount, and removes the container where it goes with it. */
export async function giveBack(
  containers: RunContainers,
  container: Container,
  remove: boolean,
): Promise<void> {
  if (remove) await containers.remove(container, { force: true });
  else if (await containers.isMounted(container)) await containers.unmount(container);
}
