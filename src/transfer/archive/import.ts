/**
 * A root file system as an image of one layer: a tar (plain, gzip or zstd; a file or a stream), whose bytes become the layer as
 * they are, or a directory, which is packed on the way with all that a layer can hold: devices, hard links, capabilities and
 * other xattrs, nanoseconds. (tar-fs, which packs directories elsewhere, knows none of these four.)
 * Mirrors `moby/moby: daemon/images/image_import.go` at v20.10.
 */
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { throwIfAborted } from '../../core/abort.ts';
import { chainIds, type ImageID } from '../../core/digest.ts';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { hostPlatform, parsePlatform } from '../../core/platform.ts';
import type { OnProgress } from '../../core/progress.ts';
import type { Reference } from '../../core/reference.ts';
import { timeOf } from '../../core/time.ts';
import { applyChanges } from '../../image/change.ts';
import { EMPTY_CONTAINER_CONFIG } from '../../image/container-config.ts';
import { baseImage } from '../../image/generate.ts';
import type { ImageStore } from '../../image/store.ts';
import {
  OWN_LAYER_LIMITS,
  type LayerSource,
  type LayerStore,
  type StagedLayer,
  type StageOptions,
} from '../../layer/store.ts';
import { timed } from '../../system/phases.ts';
import { DEFAULT_LIMITS } from '../intake/layer-pool.ts';
import { DEFAULT_MAX_BYTES } from '../intake/publish-images.ts';

export interface ImportOptions {
  readonly message?: string | undefined;
  /** Dockerfile instructions, e.g. `CMD ["sh"]`; see image/change.ts. */
  readonly changes?: readonly string[] | undefined;
  /** `OS/ARCHITECTURE[/VARIANT]` that the image says it is for. Default: the host's. */
  readonly platform?: string | undefined;
  /** Uncompressed bytes of the tar. Default 1 TiB. */
  readonly maxBytes?: number | undefined;
  /** Seconds since 1970: the image's date and, of a directory, the latest one in the layer. */
  readonly sourceDateEpoch?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface ImportStores {
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

/**
 * The new image is in the store, durably, contents included; with `reference`, this names it. After an error the store is
 * as it was.
 * @param source path of a tar or of a directory, or the tar's bytes
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a path that does not exist, a malformed change or platform;
 *   ERR_COMPRESSION_UNSUPPORTED for bzip2 and xz; ERR_LAYER_INVALID and its like for what is no tar;
 *   ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function importImage(
  { layers, images }: ImportStores,
  source: string | AsyncIterable<Uint8Array>,
  reference: Reference | undefined,
  options: ImportOptions = {},
): Promise<ImageID> {
  const { signal, onProgress } = options;
  throwIfAborted(signal);
  const config = applyChanges(EMPTY_CONTAINER_CONFIG, options.changes ?? []);
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  requireLinux(platform.os);
  const staged = await timed('import', 'stage', () => stage(layers, source, options));
  try {
    for (const warning of staged.applied.warnings) onProgress?.({ type: 'warning', ...warning });
    const image = baseImage({
      created: timeOf(options.sourceDateEpoch),
      comment: options.message ?? '',
      config,
      platform,
      diffId: staged.diffId,
    });
    await using pin = await layers.pin(chainIds([staged.diffId]), signal && { signal });
    void pin;
    await timed('import', 'publish', () => layers.publish([[staged]], signal && { signal }));
    return (await images.create(image, reference && { references: [reference] })).id;
  } finally {
    await layers.discard(staged);
  }
}

async function stage(
  layers: LayerStore,
  source: string | AsyncIterable<Uint8Array>,
  { maxBytes = DEFAULT_MAX_BYTES, sourceDateEpoch, signal, onProgress }: ImportOptions,
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
      ...(signal && { signal }),
    });
  const limits = { ...DEFAULT_LIMITS, maxBytes };
  if (typeof source !== 'string') return stageFrom(source, limits);

  const kind = await statSource(source);
  if (kind.isDirectory())
    return stageFrom({ directory: resolve(source), sourceDateEpoch }, { ...OWN_LAYER_LIMITS, maxBytes });
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

async function statSource(path: string) {
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
