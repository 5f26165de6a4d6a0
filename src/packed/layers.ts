/** Opens the layers of an image: as ranges of the archive, or, if they are compressed, as inflated files. */
import { fstat, readlink } from 'node:fs';
import { promisify } from 'node:util';
import type { Descriptor } from '../core/descriptor.ts';
import type { DiffID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { decompress, MAGIC_BYTES, unsupported } from '../layer/codec.ts';
import { readRange, type FileRange } from '../layer/range.ts';
import { native } from '../system/native.ts';
import { inLayer, notALayer, type LayerOrigin } from '../transfer/ingest/layer-errors.ts';
import type { LayerMember } from '../transfer/ingest/member.ts';
import type { PlannedLayer } from '../transfer/ingest/planned.ts';
import { changed, versionOf, type FileVersion } from './file-version.ts';
import { hashed, inflate } from './inflate.ts';
import type { Place } from './place.ts';
import { lockShared, type SourceOptions } from './source.ts';

const statFd = promisify(fstat);
const readLink = promisify(readlink);

const HINT = 'the archive is damaged: save the image again';

/**
 * The form in which a layer is mounted: a range of the archive, an inflated file, or an extracted directory.
 */
export type ArchiveLayerForm = 'in-place' | 'inflated' | 'extracted';

export interface OpenedLayer {
  /** The layer's name in the manifest. */
  readonly name: string;
  readonly diffId: DiffID;
  readonly form: ArchiveLayerForm;
  readonly range: FileRange;
  /** The digest and size of the range in a manifest. */
  readonly blob?: Descriptor | undefined;
}

export interface LayerOptions extends SourceOptions {
  /** Verifies compressed bytes against the manifest's digest. */
  readonly verify: boolean;
  /** Does not inflate compressed layers. */
  readonly extract: boolean;
  /** True where each layer is a file of its own, which has to be locked. */
  readonly isFolder: boolean;
}

/** The open layers of one image. The caller closes them. */
export class Layers {
  /** The lowest first. */
  readonly list: OpenedLayer[] = [];
  /** The versions of a folder's files that are mounted in place. */
  readonly versions: FileVersion[] = [];
  readonly #place: Place;
  readonly #options: LayerOptions;
  readonly #closes: (() => Promise<void>)[] = [];
  #inflatedBytes = 0;

  private constructor(place: Place, options: LayerOptions) {
    this.#place = place;
    this.#options = options;
  }

  /**
   * Opens the layers of a planned image.
   * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER for a layer that is missing, ERR_ARCHIVE_CHANGED,
   *   ERR_DIGEST_MISMATCH, ERR_COMPRESSION_UNSUPPORTED, ERR_LAYER_INVALID, and the errors of inflating.
   */
  static async open(planned: readonly PlannedLayer[], place: Place, options: LayerOptions): Promise<Layers> {
    const layers = new Layers(place, options);
    try {
      for (const layer of planned) layers.list.push(await layers.#open(layer));
      return layers;
    } catch (error) {
      await layers.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    for (const close of this.#closes.splice(0)) await close();
  }

  async #open({ member, diffId, blob }: PlannedLayer): Promise<OpenedLayer> {
    const { sourceName, extract, isFolder } = this.#options;
    const { name } = member;
    const opened = await openRange(sourceName, member);
    this.#closes.push(opened.close);
    if (isFolder) await this.#guard(opened.range.fd);
    if (extract) return { name, diffId, form: 'extracted', range: opened.range, blob };
    const compression = await compressionOf(opened.range);
    if (compression === 'none') return { name, diffId, form: 'in-place', range: opened.range, blob };
    const range = await this.#inflate(name, opened.range, compression, blob);
    return { name, diffId, form: 'inflated', range };
  }

  async #guard(fd: number): Promise<void> {
    const { sourceName } = this.#options;
    const path = await readLink(`/proc/self/fd/${String(fd)}`);
    lockShared(sourceName, path, fd);
    this.versions.push(await versionOf(path, () => statFd(fd, { bigint: true })));
    if (path.endsWith(' (deleted)')) throw changed(sourceName, path, 'was removed');
  }

  async #inflate(
    name: string,
    range: FileRange,
    compression: 'gzip' | 'zstd',
    blob: Descriptor | undefined,
  ): Promise<FileRange> {
    const { sourceName, caps, verify, maxBytes } = this.#options;
    const source = hashed(readRange(range));
    try {
      const { file, size } = await inflate(decompress(source.bytes, compression, caps), this.#place, {
        ...this.#options,
        maxBytes: maxBytes - this.#inflatedBytes,
      });
      this.#inflatedBytes += size;
      this.#closes.push(() => file.close());
      if (verify) requireBlob(sourceName, { name, blob }, source.digest());
      return { fd: file.fd, offset: 0, size };
    } catch (error) {
      throw layerError(error, sourceName, name);
    }
  }
}

/**
 * @throws {@link LayerstackError} ERR_LAYER_INVALID for a member that cannot be a layer, ERR_ARCHIVE_MEMBER
 *   for a missing one.
 */
export async function openRange(
  sourceName: string,
  { name, content }: LayerMember,
): Promise<{ readonly range: FileRange; readonly close: () => Promise<void> }> {
  const opened = await content.open?.();
  if (opened && 'fd' in opened.source && !(Symbol.asyncIterator in opened.source))
    return { range: opened.source, close: () => opened.close() };
  await opened?.close();
  throw notALayer(originOf(sourceName), name);
}

/** @throws {@link LayerstackError} ERR_COMPRESSION_UNSUPPORTED */
export async function compressionOf(range: FileRange): Promise<'none' | 'gzip' | 'zstd'> {
  let head: Uint8Array = new Uint8Array();
  for await (const chunk of readRange({ ...range, size: Math.min(range.size, MAGIC_BYTES) })) head = chunk;
  const compression = native.sniffCompression(head);
  if (compression === 'bzip2' || compression === 'xz') throw unsupported(compression);
  return compression;
}

function requireDigest(
  { sourceName, layer, what }: { readonly sourceName: string; readonly layer: string; readonly what: string },
  expected: string,
  found: string,
): void {
  if (expected === found) return;
  throw new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `${sourceName}: layer '${layer}' is ${found}, but the ${what} is ${expected}; ${HINT}`,
    { path: sourceName, layer, expected, found },
  );
}

/**
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH for a tar whose DiffID differs from that in the image's
 *   config.
 */
export function requireDiffId(sourceName: string, { name, diffId }: OpenedLayer, found: string): void {
  requireDigest({ sourceName, layer: name, what: "DiffID in the image's config" }, diffId, found);
}

/**
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH for bytes whose digest or size differs from that in the
 *   manifest.
 */
export function requireBlob(
  sourceName: string,
  { name, blob }: Pick<OpenedLayer, 'name' | 'blob'>,
  found: string,
): void {
  if (blob !== undefined)
    requireDigest({ sourceName, layer: name, what: 'digest in the manifest' }, blob.digest, found);
}

/** Adds the archive, and the layer's name in it, to the error of a layer. */
export function layerError(error: unknown, sourceName: string, layer: string): unknown {
  // The error of a wrong digest has these facts already.
  if (!LayerstackError.is(error) || error.code === 'ERR_DIGEST_MISMATCH') return error;
  return inLayer(error, originOf(sourceName), layer);
}

function originOf(sourceName: string): LayerOrigin {
  return { sourceName, hint: HINT, maxBytes: Number.POSITIVE_INFINITY };
}
