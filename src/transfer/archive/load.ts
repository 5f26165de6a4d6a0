/**
 * Image archive -> store. First the archive is opened and its images are planned. Then every layer that the
 * store lacks is staged and verified. Then the layers are published, and all configs and names are written in
 * one step. A failure before that step leaves the store unchanged, except for published layers, which are
 * recorded as unused and collected later.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { parseKnownPlatform } from '../../core/platform.ts';
import type { OnProgress } from '../../core/progress.ts';
import { guardLayer } from '../../container/guard-layer.ts';
import type { ImageStore } from '../../image/store.ts';
import { DamageCheck } from '../../layer/damage.ts';
import { stagedForm, type LayerStore, type StoreForm } from '../../layer/store.ts';
import { timed } from '../../system/phases.ts';
import type { Root } from '../../system/root.ts';
import { LayerPool } from '../ingest/layer-pool.ts';
import { nameImages, type LoadedImage } from '../ingest/name-images.ts';
import type { Plan, PlannedImage } from '../ingest/planned.ts';
import {
  DEFAULT_MAX_BYTES,
  publishImages,
  type LayerWarning,
  type Published,
} from '../ingest/publish-images.ts';
import { Writeback } from '../../layer/writeback.ts';
import type { Archive } from './archive.ts';
import { readImages } from './read-images.ts';
import { openArchive, type ArchiveSource } from './source.ts';

export type { LoadedImage } from '../ingest/name-images.ts';

export interface LoadOptions {
  /** `OS/ARCHITECTURE[/VARIANT]`. Default: the host's where an image has several, else the only one. */
  readonly platform?: string | undefined;
  /**
   * Maximum uncompressed bytes of all layers together, and of a streamed archive as a whole. Layers are
   * staged in parallel, so disk use may exceed the limit for a moment by the layers in progress. Default 1
   * TiB.
   */
  readonly maxBytes?: number | undefined;
  /**
   * Reads the contents of the layers that the store has, and replaces damaged ones. Default false: then
   * missing, additional and resized files are noticed, without reading any content.
   */
  readonly check?: boolean | undefined;
  /**
   * `packed` keeps each layer as its tar, with an index that the kernel mounts: nothing is extracted, and
   * dockerd does not see the image until it is settled. `auto` does that, and settles the image in the
   * background, until `signal` ends that. Default: that of the store's `layerstack/settings.json`, or else
   * `classic`, Docker's form.
   */
  readonly form?: StoreForm | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** A part of a layer that could not be stored unchanged. */
export type LoadWarning = LayerWarning;

export interface LoadResult {
  /** The images, in the archive's order. */
  readonly images: readonly LoadedImage[];
  /** Lines for the user, in docker's words where docker has them. */
  readonly notices: readonly string[];
  readonly warnings: readonly LoadWarning[];
}

export interface LoadStores {
  readonly root: Root;
  readonly layers: Pick<
    LayerStore,
    'findAll' | 'isClassic' | 'isDamaged' | 'stage' | 'restage' | 'discard' | 'publish' | 'replace' | 'pin'
  >;
  readonly images: Pick<ImageStore, 'add'>;
}

/**
 * Loads an archive. On return all its images are in the store, durably, contents included, and their names
 * point to them. Images that had these names before stay, without the names. A layer that the store has
 * damaged is replaced. Loading a sound image again changes nothing, and reads no layer if the source can be
 * read by ranges.
 *
 * @param source a path (docker-archive, OCI archive, or a folder with either unpacked; plain, gzip or zstd),
 *   or the bytes of such an archive, which are read once and never stored
 * @throws {@link LayerstackError} ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_MEMBER,
 *   ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_DIGEST_MISMATCH, ERR_REFERENCE_INVALID,
 *   ERR_PLATFORM_NOT_FOUND, ERR_LIMIT_EXCEEDED, ERR_COMPRESSION_UNSUPPORTED, ERR_ABORTED;
 *   ERR_INVALID_ARGUMENT for a path without an archive; and the errors of LayerStore.stage for layers.
 */
export async function load(
  stores: LoadStores,
  source: ArchiveSource,
  options: LoadOptions = {},
): Promise<LoadResult> {
  const { onProgress } = options;
  const { plan, published } = await loadSelected(stores, source, options, {
    select: (images) => images,
    record: (images) => nameImages(stores.images, images),
  });
  const { result: named, notices, warnings } = published;
  const result = {
    images: named.images,
    notices: [...plan.notices, ...notices, ...named.notices],
    warnings,
  };
  if (onProgress) report(result, onProgress);
  return result;
}

/** The images of an archive that a caller wants, and the step that makes something of them. */
export interface LoadStep<T> {
  /** Returns some of the planned images. */
  readonly select: (images: readonly PlannedImage[]) => readonly PlannedImage[];
  /** Runs when the store has the layers of these images, durably. They cannot be removed meanwhile. */
  readonly record: (images: readonly PlannedImage[]) => Promise<T>;
}

/**
 * Does {@link load} for some images of an archive, with a last step of the caller's.
 * @throws {@link LayerstackError} the errors of {@link load} and of the step.
 */
export async function loadSelected<T>(
  stores: Omit<LoadStores, 'images'>,
  source: ArchiveSource,
  options: LoadOptions,
  { select, record }: LoadStep<T>,
): Promise<{ readonly plan: Plan; readonly published: Published<T> }> {
  const { maxBytes = DEFAULT_MAX_BYTES, signal, onProgress } = options;
  const platform = options.platform === undefined ? undefined : parseKnownPlatform(options.platform);
  throwIfAborted(signal);
  stores.root.session();
  const sourceName = typeof source === 'string' ? source : 'the archive';
  const pool = new LayerPool(stores.layers, {
    sourceName,
    maxBytes,
    signal,
    onProgress,
    hint: 'the archive is damaged: save the image again',
    log: stores.root.log,
    form: stagedForm(options.form),
  });
  const writeback = new Writeback(pool.form, stores.root.layout.root, (error) => pool.fail(error));
  let archive: Archive | undefined;
  try {
    const read = async (): Promise<Plan> => {
      archive = await openArchive(source, { sourceName, pool, maxBytes, caps: stores.root.caps, onProgress });
      return readImages(archive, pool, platform);
    };
    const plan = await timed('load', 'read', read);
    const images = select(plan.images);
    const published = await publishImages(
      stores.layers,
      images,
      {
        ...{ operation: 'load', pool, writeback, signal, onProgress },
        damage: new DamageCheck(stores.layers, { deep: options.check ?? false, signal: pool.signal }),
        guard: (layer) => guardLayer(stores.root, layer),
      },
      () => record(images),
    );
    return { plan, published };
  } catch (error) {
    throw pool.fail(error);
  } finally {
    await writeback.stop();
    await pool.close();
    await stores.root.aftermath.run('the archive was not closed', async () => archive?.close());
  }
}

function report({ images, notices, warnings }: LoadResult, onProgress: OnProgress): void {
  for (const warning of warnings) onProgress({ type: 'warning', ...warning });
  for (const message of notices) onProgress({ type: 'notice', message });
  for (const image of images) onProgress({ type: 'image', ...image });
}
