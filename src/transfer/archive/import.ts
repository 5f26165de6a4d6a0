/**
 * Imports a root file system, or an addition to an image, as one layer. The source is a tar (plain, gzip or
 * zstd; a file or a stream), whose bytes become the layer unchanged, or a directory. A directory is packed on
 * the way with everything that a layer can hold: devices, hard links, capabilities and other xattrs,
 * nanoseconds. (tar-fs, which packs directories elsewhere, supports none of these four.)
 * Mirrors `moby/moby: daemon/images/image_import.go` at v20.10.
 */
import type { Stats } from 'node:fs';
import { open, realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { throwIfAborted } from '../../core/abort.ts';
import { EMPTY_LAYER_DIFF_ID, topChainId, type ImageID } from '../../core/digest.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { hostPlatform, parsePlatform, type Platform } from '../../core/platform.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { Reference } from '../../core/reference.ts';
import { timeOf } from '../../core/time.ts';
import { mergeConfigs } from '../../container/config.ts';
import { applyChanges } from '../../dockerfile/changes.ts';
import type { ImageConfig } from '../../image/config.ts';
import { EMPTY_CONTAINER_CONFIG, type ContainerConfig } from '../../image/container-config.ts';
import { baseImage, childImage } from '../../image/generate.ts';
import { addOwnImage } from '../../image/own-image.ts';
import type { ImageStore } from '../../image/store.ts';
import {
  formAbove,
  OWN_LAYER_LIMITS,
  stagedForm,
  type LayerForm,
  type LayerSource,
  type LayerStore,
  type StagedLayer,
  type StageOptions,
  type StoreForm,
} from '../../layer/store.ts';
import { timed } from '../../system/phases.ts';
import type { Root } from '../../system/root.ts';
import { DEFAULT_LIMITS } from '../ingest/layer-pool.ts';
import { DEFAULT_MAX_BYTES } from '../ingest/publish-images.ts';

export interface ImportOptions {
  /** Name or id of the base image. The new image shares its layers. Default: none. */
  readonly base?: string | undefined;
  /** Author of the image, e.g. `A <a@example.org>`. */
  readonly author?: string | undefined;
  readonly message?: string | undefined;
  /**
   * Dockerfile instructions, e.g. `CMD ["sh"]`, applied to the config of the base; see
   * dockerfile/changes.ts.
   */
  readonly changes?: readonly string[] | undefined;
  /**
   * The image's `OS/ARCHITECTURE[/VARIANT]`. Default: the host's. Not allowed with a base, which has its own.
   */
  readonly platform?: string | undefined;
  /** Maximum uncompressed bytes of the tar. Default 1 TiB. */
  readonly maxBytes?: number | undefined;
  /**
   * Seconds since 1970. It is the image's date and, for a directory, the upper bound of times in the layer,
   * so that the bytes are reproducible.
   */
  readonly sourceDateEpoch?: number | undefined;
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

export interface ImportStores {
  readonly root: Root;
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

/**
 * Imports an image. On return the image is in the store, durably, contents included; `reference`, if given,
 * names it. After an error the store is unchanged. The directory's own owner, mode and times are left out,
 * and so are file systems that are mounted in it. The directory may change while it is read.
 * @param source path of a tar or of a directory, or the tar's bytes
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a path that does not exist, a directory that
 *   contains the store, a malformed change or platform; ERR_IMAGE_NOT_FOUND and ERR_ID_AMBIGUOUS for the
 *   base; ERR_COMPRESSION_UNSUPPORTED for bzip2 and xz; ERR_LAYER_INVALID and similar codes for a source that
 *   is not a tar; ERR_UPPER_CHANGED where a file of a directory shrinks meanwhile, ERR_UPPER_UNSUPPORTED;
 *   ERR_LAYER_DEPTH; ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function importImage(
  stores: ImportStores,
  source: string | AsyncIterable<Uint8Array>,
  reference: Reference | undefined,
  options: ImportOptions = {},
): Promise<ImageID> {
  const { layers, images } = stores;
  const { base, signal, onProgress } = options;
  throwIfAborted(signal);
  const parent = base === undefined ? undefined : await images.get(await images.resolve(base));
  const config = configOf(parent, options.changes ?? []);
  const platform = platformOf(parent, options.platform);
  const top = topChainId(parent?.diffIds ?? []);
  // The pin keeps these layers until the image refers to them.
  await using _pin = await layers.pin(top === undefined ? [] : [top], { signal });
  const below = await layers.stack(parent?.diffIds ?? []);
  const staged = await timed('import', 'stage', () =>
    stage(stores, source, options, formAbove(below, stagedForm(options.form))),
  );
  try {
    for (const warning of staged.applied.warnings) onProgress?.({ type: 'warning', ...warning });
    const { diffId } = staged;
    const facts = {
      created: timeOf(options.sourceDateEpoch),
      author: options.author ?? '',
      comment: options.message ?? '',
      config,
    };
    const nothing = parent !== undefined && diffId === EMPTY_LAYER_DIFF_ID;
    const image = parent
      ? childImage(parent, platform, {
          ...facts,
          containerId: undefined,
          containerConfig: EMPTY_CONTAINER_CONFIG,
          diffId: nothing ? undefined : diffId,
        })
      : baseImage({ ...facts, platform, diffId });
    return await addOwnImage(
      stores,
      { config: image, layers: nothing ? below : [...below, staged], parent: parent?.id, reference },
      { operation: 'import', signal, onProgress },
    );
  } finally {
    await layers.discard(staged);
  }
}

function configOf(parent: ImageConfig | undefined, changes: readonly string[]): ContainerConfig {
  if (parent === undefined) return applyChanges(EMPTY_CONTAINER_CONFIG, changes);
  return mergeConfigs(applyChanges(parent.config, changes), parent.config);
}

function platformOf(parent: ImageConfig | undefined, text: string | undefined): Platform {
  if (text === undefined) return hostPlatform();
  if (parent !== undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `the image has the platform of its base: leave ${JSON.stringify(text)} out`,
      { found: text },
    );
  const platform = parsePlatform(text);
  requireLinux(platform.os);
  return platform;
}

async function stage(
  { root, layers }: ImportStores,
  source: string | AsyncIterable<Uint8Array>,
  { maxBytes = DEFAULT_MAX_BYTES, sourceDateEpoch, signal, onProgress }: ImportOptions,
  form: LayerForm,
): Promise<StagedLayer> {
  const stageFrom = (
    from: LayerSource,
    limits: StageOptions['limits'],
    total?: number,
  ): Promise<StagedLayer> =>
    layers.stageAlone(from, {
      limits,
      ...(onProgress && {
        onProgress: (current) =>
          onProgress({ type: 'progress', current, ...(total !== undefined && { total }) }),
      }),
      name: typeof source === 'string' ? source : 'stdin',
      form,
      signal,
    });
  const limits = { ...DEFAULT_LIMITS, maxBytes };
  if (typeof source !== 'string') return stageFrom(source, limits);

  const kind = await statSource(source);
  if (kind.isDirectory()) {
    await refuseOwn(root, source, kind);
    const directory = { directory: resolve(source), kind: 'plain' as const, sourceDateEpoch };
    return stageFrom(directory, { ...OWN_LAYER_LIMITS, maxBytes });
  }
  const file = await open(source);
  try {
    if (kind.isFile()) return await stageFrom({ fd: file.fd, offset: 0, size: kind.size }, limits, kind.size);
    return await stageFrom(file.createReadStream({ autoClose: false, highWaterMark: READ_BYTES }), limits);
  } finally {
    await file.close();
  }
}

/** Bytes of one read from a pipe or device. */
const READ_BYTES = 512 * 1024;

/**
 * Refuses a directory that contains the store, because it would grow while it is read. A store on a file
 * system that is mounted in the directory does no harm, because it is left out.
 */
async function refuseOwn({ layout }: Root, path: string, { dev }: Stats): Promise<void> {
  const directory = await realpath(path);
  const isInside = `${layout.root}/`.startsWith(directory === '/' ? '/' : `${directory}/`);
  if (!isInside || (await stat(layout.root)).dev !== dev) return;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${path} holds the store itself (${layout.root}): import another directory`,
    { path },
  );
}

async function statSource(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${path === '' ? '""' : path}: no such file or directory`,
      {
        path,
        cause: error,
      },
    );
  }
}

function requireLinux(os: string): void {
  if (os === 'linux') return;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `operating system is not supported: only linux images can be stored, not ${os}`,
    { found: os },
  );
}
