/**
 * A directory of the store for the files of one build: an extracted context, a downloaded file. It is removed
 * when the build drops it. If the process dies before, the next writer removes it (docs/architecture.md,
 * "Markers"). Nothing in it is synced.
 */
import { join } from 'node:path';
import { randomName } from '../../core/random.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';

export interface Scratch {
  /** Absolute. */
  readonly path: string;
  /** Removes it. */
  drop(): Promise<void>;
}

/** Makes an empty directory below `layerstack/contexts`. */
export async function makeScratch(root: Root): Promise<Scratch> {
  const { layout } = root;
  const path = layout.context(`.tmp-${randomName(8).toString('hex')}`);
  const marker = await root.session().temporary(path);
  const drop = async (): Promise<void> => {
    await call(native.removeTree(layout.root, path));
    await marker[Symbol.asyncDispose]();
  };
  try {
    await call(
      native.batch(layout.root, [
        { op: 'mkdir', path: layout.contexts, mode: 0o700, exist: true },
        { op: 'mkdir', path, mode: 0o755 },
      ]),
    );
  } catch (error) {
    await drop();
    throw error;
  }
  return { path: join(layout.root, path), drop };
}
