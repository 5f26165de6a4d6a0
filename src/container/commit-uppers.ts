/**
 * Makes an image from uppers. The tar of an upper is extracted into a new layer directory while it is packed,
 * which gives DiffID, tar-split and content in one pass. The config gets one step of history for each layer.
 * Uppers are read in place, mounted or not. A concurrent write may be in the image in part; a file that
 * shrinks is ERR_UPPER_CHANGED. Mirrors `moby/moby: daemon/commit.go` at v20.10.
 */
import { throwIfAborted } from '../core/abort.ts';
import { EMPTY_LAYER_DIFF_ID, type ImageID } from '../core/digest.ts';
import { isSystemError } from '../core/errors.ts';
import { hostPlatform } from '../core/platform.ts';
import type { OnProgress } from '../core/progress.ts';
import type { Reference } from '../core/reference.ts';
import { timeOf } from '../core/time.ts';
import { applyChanges } from '../dockerfile/changes.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import type { ImageConfig } from '../image/config.ts';
import { childImage, type ChildFacts } from '../image/generate.ts';
import { addOwnImage } from '../image/own-image.ts';
import type { ImageStore } from '../image/store.ts';
import {
  formAbove,
  OWN_LAYER_LIMITS,
  type LayerForm,
  type LayerStore,
  type StagedLayer,
} from '../layer/store.ts';
import { timed } from '../system/phases.ts';
import type { Root } from '../system/root.ts';
import { hasDirectory } from '../system/store-files.ts';
import { mergeConfigs } from './config.ts';

export interface CommitOptions {
  /** The author of the image, e.g. `A <a@example.org>`. */
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  /**
   * The image's config. Members that it leaves unset come from the container's config, which is also the
   * default.
   */
  readonly config?: ContainerConfig | undefined;
  /** Dockerfile instructions, e.g. `CMD ["sh"]`, applied to the config; see dockerfile/changes.ts. */
  readonly changes?: readonly string[] | undefined;
  /**
   * Seconds since 1970: the image's date, and the latest time in its layer. It makes the bytes reproducible.
   */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface CommitStores {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

/** The directories whose changes make an image. */
export interface CommitUppers {
  /** Absolute, bottom first. Each becomes a layer. */
  readonly directories: readonly string[];
  /** Their owner in messages, e.g. `container web`. */
  readonly owner: string;
  /** Ends the read. Throws where the owner has other uppers by now. */
  readonly requireSame: () => void;
  /** Returns the error for a directory that was removed meanwhile. */
  readonly removed: (cause?: unknown) => Error;
}

/** The image below the uppers, and the facts about the new one that follow from their owner. */
export interface CommitBase {
  /** The image below, whose layers the store has; undefined without one. */
  readonly image: ImageConfig | undefined;
  /** Its id if the store has it. The new image then has it as its parent. */
  readonly parent: ImageID | undefined;
  /** Undefined where no container is committed. */
  readonly containerId: string | undefined;
  /** The config of the container or build step that wrote the uppers. */
  readonly config: ContainerConfig;
}

/**
 * Adds the image of uppers to the store, and gives it the name `reference`, if any. The image and its
 * contents are durable on return. Uppers without changes add no layer to the image. An error leaves the store
 * unchanged.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed change; ERR_UPPER_CHANGED,
 *   ERR_UPPER_UNSUPPORTED; ERR_LIMIT_EXCEEDED for a file with more holes than a tar can describe;
 *   ERR_LAYER_DEPTH; ERR_NO_SPACE; ERR_ABORTED; ERR_STORE_READ_ONLY; the errors of `uppers`.
 */
export async function commitUppers(
  { root, layers, images }: CommitStores,
  uppers: CommitUppers,
  { image: base, parent, containerId, config: own }: CommitBase,
  { reference, ...options }: CommitOptions & { readonly reference: Reference | undefined },
): Promise<ImageID> {
  const { signal, onProgress, sourceDateEpoch } = options;
  throwIfAborted(signal);
  root.session();
  const given = applyChanges(options.config ?? own, options.changes ?? []);
  const config = mergeConfigs(given, own);
  const below = await layers.stack(base?.diffIds ?? []);
  const form = formAbove(below, 'classic');
  const staged: StagedLayer[] = [];
  try {
    for (const directory of uppers.directories)
      staged.push(await stageUpper(layers, directory, uppers, { sourceDateEpoch, signal, form }));
    uppers.requireSame();
    for (const { applied } of staged)
      for (const warning of applied.warnings) onProgress?.({ type: 'warning', ...warning });
    const facts = {
      created: timeOf(sourceDateEpoch),
      author: options.author ?? '',
      comment: options.message ?? '',
      containerId,
      containerConfig: own,
      config,
    };
    const image = imageOf(base, facts, staged);
    return await addOwnImage(
      { layers, images },
      { config: image, layers: [...below, ...staged.filter(isChanged)], parent, reference },
      { operation: 'commit', signal, onProgress },
    );
  } finally {
    for (const one of staged) await layers.discard(one);
  }
}

interface UpperOptions extends Pick<CommitOptions, 'sourceDateEpoch' | 'signal'> {
  readonly form: LayerForm;
}

/** Stages the layer of one upper. A sealed upper is a layer of its own, as it was a step of its own. */
async function stageUpper(
  layers: LayerStore,
  directory: string,
  { owner, removed }: CommitUppers,
  { sourceDateEpoch, signal, form }: UpperOptions,
): Promise<StagedLayer> {
  if (!hasDirectory(directory)) throw removed();
  const staged = await timed('commit', 'stage', () =>
    layers.stageAlone(
      { directory, kind: 'upper', sourceDateEpoch },
      { limits: OWN_LAYER_LIMITS, name: `of ${owner}`, signal, form },
    ),
  ).catch((error: unknown) => {
    throw isSystemError(error, 'ENOENT') && !hasDirectory(directory) ? removed(error) : error;
  });
  // A removal renames the directory before it deletes anything in it. So a directory that still exists was
  // read completely.
  if (hasDirectory(directory)) return staged;
  await layers.discard(staged);
  throw removed();
}

/** Returns the image's config: a step of history for each layer, of which the last one has the message. */
function imageOf(
  parent: ImageConfig | undefined,
  facts: Omit<ChildFacts, 'diffId'>,
  staged: readonly StagedLayer[],
): ImageConfig {
  const sealed = staged.slice(0, -1).filter(isChanged);
  const top = staged.at(-1);
  const below = sealed.reduce<ImageConfig | undefined>(
    (image, { diffId }) => childImage(image, hostPlatform(), { ...facts, comment: '', diffId }),
    parent,
  );
  const diffId = top && isChanged(top) ? top.diffId : undefined;
  return childImage(below, hostPlatform(), { ...facts, diffId });
}

function isChanged({ diffId }: StagedLayer): boolean {
  return diffId !== EMPTY_LAYER_DIFF_ID;
}
