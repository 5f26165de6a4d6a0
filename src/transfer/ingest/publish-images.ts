/**
 * What load and pull have in common once their images are known: the layers that the store lacks are staged, all are
 * published, and only then come the configs and names. Locks are taken in the order pins, layers, references; a pull holds
 * those of `pulls` before.
 */
import type { DiffID } from '../../core/digest.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { LayerStore, StagedLayer } from '../../layer/store.ts';
import { timed } from '../../system/phases.ts';
import type { LayerPool } from './layer-pool.ts';
import type { PlannedImage } from './planned.ts';
import { pinLayers, stageLayers } from './stage-layers.ts';
import type { Writeback } from '../../layer/writeback.ts';

/** Far above any image, yet it ends a bomb before it fills a large disk. */
export const DEFAULT_MAX_BYTES = 1024 ** 4;

/** Something of a layer could not be stored as it was. */
export interface LayerWarning {
  readonly code: string;
  readonly message: string;
  readonly diffId: DiffID;
  /** Of the layer. */
  readonly member: string;
}

export interface Publishing {
  readonly operation: 'load' | 'pull';
  readonly pool: LayerPool;
  readonly writeback: Writeback;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
  /** Called when every layer is staged, before anything is synced. */
  readonly staged?: () => Promise<void>;
}

export interface Published<T> {
  readonly result: T;
  readonly notices: readonly string[];
  readonly warnings: readonly LayerWarning[];
  /** The layers that the store did not have. */
  readonly fresh: readonly StagedLayer[];
}

/**
 * The layers of the images are in the store, durably, and `record`, which stores what refers to them, has run.
 * @throws {@link LayerstackError} what staging and publishing throw; after an error of staging the store is as it was.
 */
export async function publishImages<T>(
  layers: Pick<LayerStore, 'findAll' | 'publish' | 'pin'>,
  images: readonly PlannedImage[],
  { operation, pool, writeback, signal, onProgress, staged }: Publishing,
  record: (fresh: readonly StagedLayer[]) => Promise<T>,
): Promise<Published<T>> {
  await using _pin = await pinLayers(layers, images, signal);
  const { stacks, fresh } = await timed(operation, 'stage', () =>
    stageLayers(layers, images, pool, onProgress),
  );
  await staged?.();
  await writeback.stop();
  pool.throwIfFailed();
  const { notices } = await timed(operation, 'publish', () => layers.publish(stacks, { signal }));
  pool.published(fresh);
  const result = await timed(operation, 'name', () => record(fresh));
  return { result, notices, warnings: fresh.flatMap(warningsOf), fresh };
}

function warningsOf({ diffId, applied }: StagedLayer): LayerWarning[] {
  return applied.warnings.map((warning) => ({ ...warning, diffId }));
}
