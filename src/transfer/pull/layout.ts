/**
 * Pulls a registry's image, of all platforms, into an OCI layout in a directory: `oci-layout`, `index.json`
 * and blobs. This includes the index that lists the platforms, and its other entries (attestations). All
 * documents and blobs are byte for byte as the registry has them. Present blobs are checked and not fetched
 * again. `index.json`, which makes the image visible, is written last. No store is needed.
 * Mirrors opencontainers/image-spec: image-layout.md.
 */
import { throwIfAborted } from '../../core/abort.ts';
import { ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, type Descriptor } from '../../core/descriptor.ts';
import { digestOf, type Digest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { OnProgress } from '../../core/progress.ts';
import { canonicalName, formatReference, withDefaultTag, type Reference } from '../../core/reference.ts';
import { Slots } from '../../layer/slots.ts';
import { holdFlock } from '../../system/lock.ts';
import { LayoutBlobs } from './layout-blobs.ts';
import { openLayout, readIndex, writeIndex } from './layout-index.ts';
import { MAX_NESTING, readDocument } from './resolve-manifest.ts';
import type { PullSource } from './source.ts';

export interface PullLayoutOptions {
  /** Maximum blobs fetched at once. Default 3. */
  readonly maxConcurrentDownloads?: number | undefined;
  /** Maximum bytes of all blobs together. Default 1 TiB. */
  readonly maxBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PulledLayout {
  readonly reference: string;
  /** Digest of the index, or of the manifest where the reference names a single image. */
  readonly digest: Digest;
  readonly mediaType: string;
  /** Number of manifests, including those of attestations. */
  readonly manifests: number;
  /** Number of configs and layers. */
  readonly blobs: number;
  /** Bytes of blobs that came over the network. */
  readonly fetchedBytes: number;
  /** Layers whose bytes the registry does not hold; the layout lacks them. */
  readonly foreign: readonly Digest[];
}

const DOWNLOADS = 3;
const DEFAULT_MAX_BYTES = 1024 ** 4;
/** Maximum manifests of one image; real ones have some tens. */
const MAX_MANIFESTS = 1000;
/** Maximum bytes of all documents of one image, which stay in memory until its blobs are written. */
const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;

/**
 * Pulls the image into the layout, durably, under its tag. The layout's other images stay.
 * @param directory an OCI layout, or an empty directory; it is made if it is missing
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `directory` is something else; ERR_STORE_LOCKED
 *   while another pull writes there; ERR_MANIFEST_INVALID, ERR_DIGEST_MISMATCH, ERR_LIMIT_EXCEEDED,
 *   ERR_REGISTRY_*, ERR_NO_SPACE, ERR_ABORTED.
 */
export async function pullLayout(
  source: PullSource,
  reference: Reference,
  directory: string,
  options: PullLayoutOptions = {},
): Promise<PulledLayout> {
  throwIfAborted(options.signal);
  const named = withDefaultTag(reference);
  const path = await openLayout(directory);
  const held = await holdFlock(path, true);
  if (!held)
    throw new LayerstackError('ERR_STORE_LOCKED', `another pull writes to ${path}: wait for its end`, {
      path,
    });
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  try {
    const blobs = new LayoutBlobs(path, { signal, onProgress: options.onProgress });
    await blobs.begin();
    return await new LayoutPull(source, named, { path, blobs, stop, signal }, options).run();
  } finally {
    await held.release();
  }
}

interface Target {
  readonly path: string;
  readonly blobs: LayoutBlobs;
  readonly stop: AbortController;
  readonly signal: AbortSignal;
}

class LayoutPull {
  readonly #source: PullSource;
  readonly #reference: Reference;
  readonly #sourceName: string;
  readonly #target: Target;
  readonly #options: PullLayoutOptions;
  /** Documents by digest. They are written after the blobs that they name. */
  readonly #documents = new Map<Digest, Uint8Array>();
  readonly #wanted = new Map<Digest, Descriptor>();
  readonly #foreign = new Set<Digest>();
  #manifests = 0;
  #documentBytes = 0;

  constructor(source: PullSource, reference: Reference, target: Target, options: PullLayoutOptions) {
    this.#source = source;
    this.#reference = reference;
    this.#sourceName = formatReference(reference);
    this.#target = target;
    this.#options = options;
  }

  async run(): Promise<PulledLayout> {
    const { tag, digest: asked } = this.#reference;
    const { path, blobs, signal } = this.#target;
    // Read before anything is fetched, so that a fault in it is reported at once.
    const before = await readIndex(path);
    const canonical = canonicalName(this.#reference.repository);
    this.#options.onProgress?.({
      type: 'pulling',
      reference: this.#sourceName,
      repository: canonical.slice(canonical.indexOf('/') + 1),
      id: asked === undefined ? (tag ?? '') : `${canonical}@${asked}`,
    });
    const root = await this.#source.fetchManifest(asked ?? tag ?? '', { signal });
    const document = readDocument(this.#sourceName, root, undefined);
    await this.#visit(root.digest, root.bytes, document, 0);
    const fetchedBytes = await this.#fetchBlobs();
    for (const bytes of this.#documents.values()) await blobs.put(bytes);
    await blobs.finish();
    const mediaType = root.mediaType || (document.mediaType ?? '');
    const descriptor = { mediaType, digest: root.digest, size: root.bytes.length };
    await writeIndex(path, before, {
      ...descriptor,
      ...(tag !== undefined &&
        asked === undefined && {
          annotations: { [ANNOTATION_IMAGE_NAME]: `${canonical}:${tag}`, [ANNOTATION_REF_NAME]: tag },
        }),
    });
    return {
      reference: this.#sourceName,
      digest: root.digest,
      mediaType,
      manifests: this.#manifests,
      blobs: this.#wanted.size,
      fetchedBytes,
      foreign: [...this.#foreign],
    };
  }

  /** Collects a document, and all documents and blobs that it leads to. */
  async #visit(
    digest: Digest,
    bytes: Uint8Array,
    document: ReturnType<typeof readDocument>,
    nesting: number,
  ): Promise<void> {
    const fail = (why: string): never => {
      throw new LayerstackError('ERR_LIMIT_EXCEEDED', `${this.#sourceName}: ${why}`, {
        reference: this.#sourceName,
        digest,
      });
    };
    if (nesting > MAX_NESTING) fail('it has indexes nested too deep');
    if (this.#documents.size >= MAX_MANIFESTS)
      fail(`it has more than ${String(MAX_MANIFESTS)} manifests, which no real image has`);
    if ((this.#documentBytes += bytes.length) > MAX_DOCUMENT_BYTES)
      fail(
        `its manifests have more than ${String(MAX_DOCUMENT_BYTES)} bytes together, which no real image has`,
      );
    if (document.kind === 'manifest') {
      this.#manifests++;
      for (const blob of [document.config, ...document.layers]) this.#want(blob);
    } else {
      for (const child of document.manifests) {
        // An index may name one manifest thousands of times.
        if (this.#documents.has(child.digest)) continue;
        const { bytes: own, document: next } = await this.#child(child);
        await this.#visit(child.digest, own, next, nesting + 1);
      }
    }
    // Set after its children, so that it is written after them.
    this.#documents.set(digest, bytes);
  }

  /** Returns a document that an index names, from the layout or from the registry. */
  async #child(child: Descriptor): Promise<{ bytes: Uint8Array; document: ReturnType<typeof readDocument> }> {
    const { blobs, signal } = this.#target;
    const kept = await blobs.document(child);
    const fetched = kept
      ? { bytes: kept, mediaType: child.mediaType, digest: digestOf(kept) }
      : await this.#source.fetchManifest(child.digest, { signal });
    return { bytes: fetched.bytes, document: readDocument(this.#sourceName, fetched, child) };
  }

  #want(blob: Descriptor): void {
    if (/\.(?:foreign|nondistributable)\./.test(blob.mediaType)) this.#foreign.add(blob.digest);
    else this.#wanted.set(blob.digest, blob);
  }

  /**
   * Fetches all blobs in parallel; the first failure stops the others. Resolves with the number of bytes
   * fetched.
   */
  async #fetchBlobs(): Promise<number> {
    const { maxConcurrentDownloads = DOWNLOADS, maxBytes = DEFAULT_MAX_BYTES, signal: outer } = this.#options;
    const { blobs, stop, signal } = this.#target;
    const total = [...this.#wanted.values()].reduce((sum, { size }) => sum + size, 0);
    if (total > maxBytes)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `${this.#sourceName}: its blobs have ${String(total)} bytes; ${String(maxBytes)} are allowed`,
        { reference: this.#sourceName, limit: maxBytes, found: total },
      );
    const slots = new Slots(maxConcurrentDownloads);
    const fetches = [...this.#wanted.values()].map((blob) => {
      const fetch = slots.run(signal, () => blobs.fetch(this.#source, blob));
      fetch.catch((error: unknown) => stop.abort(error));
      return fetch;
    });
    const results = await Promise.allSettled(fetches);
    throwIfAborted(outer);
    // The first failure aborts the others, which end with ERR_ABORTED; it is the reason to throw.
    if (stop.signal.aborted) throw stop.signal.reason;
    return results.reduce((sum, result) => sum + (result.status === 'fulfilled' ? result.value : 0), 0);
  }
}
