/**
 * Runs a command in a new container of a store. The directory of the run is made first, so that after a kill
 * at any instruction the next writer can undo the run (directory.ts, sweep.ts).
 */
import { newOverlayId } from '../../layer/overlay.ts';
import type { Root } from '../../system/root.ts';
import { containerBundle, writeBundle } from '../bundle.ts';
import type { Mount } from '../mount.ts';
import type { Container } from '../record.ts';
import { readHostSettings } from '../spec/settings.ts';
import type { CreateOptions } from '../store.ts';
import { RunDirectory } from './directory.ts';
import { ioOf, runResult, type ProcessOptions, type RunResult } from './options.ts';
import { findRuntime } from './runtime.ts';
import { startRun } from './start.ts';
import { giveBack, type RunContainers } from './sweep.ts';

export interface RunOptions extends CreateOptions, ProcessOptions {
  /** Removes the container when the command has ended. Default false. */
  readonly remove?: boolean | undefined;
  /**
   * Resolves when the command has started. It has neither input nor output. After its end, the next writer
   * that opens the store unmounts the container, and with `remove` also removes it. Default false.
   */
  readonly detach?: boolean | undefined;
}

/** The operations on containers that a run needs. */
export interface RunStore extends RunContainers {
  create(options: CreateOptions, id: string): Promise<Container>;
  mount(container: Container): Promise<Mount>;
}

/**
 * Makes a container, and runs its command.
 * @throws {@link LayerstackError} the errors of creating, mounting and `writeBundle`; those of
 *   {@link startRun}.
 */
export async function runContainer(root: Root, store: RunStore, options: RunOptions): Promise<RunResult> {
  const {
    runtime: given,
    interactive,
    streams,
    onStart,
    remove = false,
    detach = false,
    ...create
  } = options;
  const runtime = findRuntime(given);
  // A wrong call fails before anything is made. The image may also want a terminal; that is checked later.
  ioOf(create.tty === true, { interactive, streams, detach });
  const id = newOverlayId();
  const run = await RunDirectory.make(root.layout, { id, remove, runtime });
  let container: Container | undefined;
  let isDetached = false;
  try {
    container = await store.create(create, id);
    const mount = await store.mount(container);
    const bundle = await writeBundle(containerBundle(root, container), mount, run.path);
    const parent = readHostSettings(root.layout, id).CgroupParent ?? '';
    const { path, pidFile, logFile, lockFd } = run;
    const end = await startRun(
      { id, runtime, path, pidFile, logFile, lockFd },
      {
        io: ioOf(container.config.Tty, { interactive, streams, detach }),
        ...{ detach, systemdCgroup: parent.endsWith('.slice'), signal: create.signal },
        onStart: (kill) => onStart?.({ id, leftOut: bundle.leftOut, kill }),
      },
    );
    isDetached = detach;
    return runResult(id, end, detach);
  } finally {
    await finish(root, store, run, { container, remove, isDetached });
  }
}

/** Unmounts or removes the container of a run, and removes its directory. The next writer does what fails. */
async function finish(
  root: Root,
  store: RunStore,
  run: RunDirectory,
  ended: {
    readonly container: Container | undefined;
    readonly remove: boolean;
    readonly isDetached: boolean;
  },
): Promise<void> {
  const { container, remove, isDetached } = ended;
  if (isDetached) return run.detach();
  await root.aftermath.run('parts of the run stay until the next writer removes them', async () => {
    try {
      if (container !== undefined) await giveBack(store, container, remove);
      await run.remove();
    } catch (error) {
      await run.leave();
      throw error;
    }
  });
}
