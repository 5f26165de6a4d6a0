/**
 * The image of one step. As in docker's classic builder, each step makes an image whose parent is that of the
 * step before. These images are the cache. Mirrors `moby/moby: builder/dockerfile/internals.go` at v20.10.
 */
import { EMPTY_LAYER_DIFF_ID, topChainId } from '../core/digest.ts';
import type { Platform } from '../core/platform.ts';
import type { ProgressEvent } from '../core/progress.ts';
import { timeOf } from '../core/time.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { childImage } from '../image/generate.ts';
import type { ImageStore, NewImage } from '../image/store.ts';
import { formAbove, OWN_LAYER_LIMITS, type LayerStore, type StagedLayer } from '../layer/store.ts';
import { DEFAULT_SHELL } from '../dockerfile/arguments.ts';

export interface ImageStores {
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

export interface StepFacts {
  /** The image of the step before; undefined for `scratch`. */
  readonly parent: ImageConfig | undefined;
  readonly platform: Platform;
  readonly author: string;
  /** The config for containers of the image. */
  readonly config: ContainerConfig;
  /** The config of the step: its command is the step of the history. It is the key of the cache. */
  readonly step: ContainerConfig;
  readonly sourceDateEpoch: number | undefined;
}

/** Returns the image of a step that changes no files. It is not in the store yet. */
export function stepImage(facts: StepFacts, diffId?: StagedLayer['diffId']): ImageConfig {
  const { parent, platform, author, config, step, sourceDateEpoch } = facts;
  return childImage(parent, platform, {
    ...{ created: timeOf(sourceDateEpoch), author, comment: '', containerId: undefined },
    ...{ containerConfig: step, config, diffId },
  });
}

/** The upper of a step. */
export interface StepUpper {
  readonly directory: string;
  /** In messages, e.g. `of step 3`. */
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((event: ProgressEvent) => void) | undefined;
}

/**
 * Adds the image of a step with the changes in an upper, durably. The images of the steps before it, which
 * are not in the store yet, are added with it. Without changes the image has the layers of its parent.
 * @throws {@link LayerstackError} ERR_UPPER_CHANGED, ERR_LAYER_DEPTH, ERR_NO_SPACE, ERR_ABORTED.
 */
export async function commitStep(
  { layers, images }: ImageStores,
  facts: StepFacts,
  { directory, name, signal, onProgress }: StepUpper,
  before: readonly NewImage[],
): Promise<ImageConfig> {
  const { sourceDateEpoch, parent } = facts;
  const below = await layers.stack(parent?.diffIds ?? []);
  const form = formAbove(below, 'classic');
  const staged = await layers.stageAlone(
    { directory, kind: 'upper', sourceDateEpoch },
    { limits: OWN_LAYER_LIMITS, name, signal, form },
  );
  try {
    for (const warning of staged.applied.warnings) onProgress?.({ type: 'warning', ...warning });
    const isChanged = staged.diffId !== EMPTY_LAYER_DIFF_ID;
    const image = stepImage(facts, isChanged ? staged.diffId : undefined);
    const top = topChainId(image.diffIds);
    await using _pin = await layers.pin(top === undefined ? [] : [top], { signal });
    if (isChanged) await layers.publish([[...below, staged]], { signal });
    await images.add([...before, { config: image, parent: parent?.id }], [], { signal });
    return image;
  } finally {
    await layers.discard(staged);
  }
}

/** Returns the config of a step that is not a command: `/bin/sh -c #(nop) COMMENT`. */
export function commented(config: ContainerConfig, words: readonly string[]): ContainerConfig {
  const shell = config.Shell?.length ? config.Shell : DEFAULT_SHELL;
  return { ...config, Cmd: [...shell, ...words] };
}
