/**
 * The common last part of load and pull, once the images are known. It stages the layers that the store
 * lacks, publishes all layers, and only then writes the configs and names. Locks are taken in the order pins,
 * layers, references; a pull holds its `pulls` locks before these.
 */
import type { DiffID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { DamageCheck } from '../../layer/damage.ts';
import type { GuardLayer, Layer, LayerStore, ReplaceOptions, StagedLayer } from '../../layer/store.ts';
import { timed } from '../../system/phases.ts';
import type { LayerPool } from './layer-pool.ts';
import type { PlannedImage } from './planned.ts';
import { pinLayers, stageLayers } from './stage-layers.ts';
import type { Writeback } from '../../layer/writeback.ts';

/** Far above the size of any image, yet it stops a bomb before it fills a large disk. */
export const DEFAULT_MAX_BYTES = 1024 ** 4;

/** A part of a layer that could not be stored unchanged. */
export interface LayerWarning {
  readonly code: string;
  readonly message: string;
  readonly diffId: DiffID;
  /** Name of the layer. */
  readonly member: string;
}

export interface Publishing {
  readonly operation: 'load' | 'pull';
  readonly pool: LayerPool;
  readonly writeback: Writeback;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
  /** Compares the layers that the store has. */
  readonly damage: DamageCheck;
  /** Keeps containers on a damaged layer from being mounted while it is replaced. */
  readonly guard: GuardLayer;
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
 * Publishes the layers of the images, and then runs `record`, which stores the images that refer to them.
 * @throws {@link LayerstackError} the errors of staging and publishing. After an error of staging the store
 *   is unchanged.
 */
export async function publishImages<T>(
  layers: Pick<LayerStore, 'findAll' | 'isClassic' | 'publish' | 'replace' | 'pin'>,
  images: readonly PlannedImage[],
  { operation, pool, writeback, signal, onProgress, damage, guard, staged }: Publishing,
  record: (fresh: readonly StagedLayer[]) => Promise<T>,
): Promise<Published<T>> {
  await using _pin = await pinLayers(layers, images, signal);
  const { stacks, fresh, copies } = await timed(operation, 'stage', () =>
    stageLayers(layers, images, { pool, damage, onProgress }),
  );
  await staged?.();
  await writeback.stop();
  pool.throwIfFailed();
  const replaced: string[] = [];
  for (const [layer, copy] of copies)
    replaced.push(await replaceDamaged(layers, layer, copy, { guard, signal }));
  const { notices } = await timed(operation, 'publish', () => layers.publish(stacks, { signal }));
  pool.published(fresh);
  const result = await timed(operation, 'name', () => record(fresh));
  return { result, notices: [...replaced, ...notices], warnings: fresh.flatMap(warningsOf), fresh };
}

/**
 * Replaces a damaged layer of the store. A layer below a mounted container stays as it is.
 * @returns a line for the user
 */
async function replaceDamaged(
  layers: Pick<LayerStore, 'replace'>,
  layer: Layer,
  copy: StagedLayer,
  options: ReplaceOptions,
): Promise<string> {
  try {
    await layers.replace(layer, copy, options);
    return `layer ${layer.diffId} was damaged in the store, and is replaced`;
  } catch (error) {
    if (!LayerstackError.is(error, 'ERR_CONTAINER_MOUNTED')) throw error;
    return `layer ${layer.diffId} is damaged in the store: ${error.message}, and load or pull the image again`;
  }
}

function warningsOf({ diffId, applied }: StagedLayer): LayerWarning[] {
  return applied.warnings.map((warning) => ({ ...warning, diffId }));
}
