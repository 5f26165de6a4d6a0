/**
 * A registry's image -> store. In order: the manifest is found and checked; the config read; the layers that the store
 * lacks are fetched, each once among all processes, verified and staged in one pass (transfer/ingest); then layers are
 * published, the config written, and `name:tag` and `name@digest` set in one rewrite. Until the first of these three a failure
 * leaves the store as it was, but for what was downloaded, which the next pull goes on from (system/partials.ts).
 *
 * Locks, in this order: `pulls` of the image, `pulls` of the layers that are missing, pins, then as publishing takes them.
 */
import { throwIfAborted, unlessAborted } from '../../core/abort.ts';
import { chainIds, type ChainID, type DiffID, type Digest, type ImageID } from '../../core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { hostPlatform, parseKnownPlatform, type Platform } from '../../core/platform.ts';
import type { OnProgress } from '../../core/progress.ts';
import {
  canonicalName,
  formatReference,
  isTag,
  withDefaultTag,
  type Reference,
} from '../../core/reference.ts';
import type { Distribution } from '../../image/distribution.ts';
import type { ImageStore } from '../../image/store.ts';
import type { LayerStore, StagedLayer } from '../../layer/store.ts';
import type { Lock, Locks } from '../../system/lock.ts';
import { sweepPartials } from '../../system/partials.ts';
import type { Root } from '../../system/root.ts';
import { LayerPool } from '../ingest/layer-pool.ts';
import { planImage, selectPlatform, type PlannedImage } from '../ingest/planned.ts';
import { DEFAULT_MAX_BYTES, publishImages, type LayerTrouble } from '../ingest/publish-images.ts';
import { Writeback } from '../../layer/writeback.ts';
import { fetchConfig } from './config.ts';
import { BlobRecorder } from './blob-recorder.ts';
import { LayerDownloads } from './layers.ts';
import { resolveManifest } from './resolve-manifest.ts';
import type { PullSource, TagSource } from './source.ts';

/** As docker's daemon. */
const DEFAULT_DOWNLOADS = 3;

/** More than the largest repositories have. */
const MAX_TAGS = 100_000;

export interface PullOptions {
  /** `OS/ARCHITECTURE[/VARIANT]`. Default: the host's where the registry has several, else what there is. */
  readonly platform?: string | undefined;
  /** Every tag of the repository; the reference then has none. Default false. */
  readonly allTags?: boolean | undefined;
  /** Layers fetched at once. Default 3. */
  readonly maxConcurrentDownloads?: number | undefined;
  /** Uncompressed bytes of all layers of an image together. Default 1 TiB. */
  readonly maxBytes?: number | undefined;
  /**
   * PartialRecorder the layers as they come, compressed, too: `save --format oci` and `push` then give out the manifest and the blobs that
   * were pulled. Default false.
   */
  readonly keepBlobs?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PulledImage {
  readonly id: ImageID;
  /** The familiar name that was pulled, with its tag or digest. */
  readonly reference: string;
  /** Of the manifest, or of the index that led to it: `name@digest` names the image too. */
  readonly digest: Digest;
  /** The reference named another image before, or none. */
  readonly updated: boolean;
}

export interface PullResult {
  /** One; with `allTags` one for each tag, in the registry's order. */
  readonly images: readonly PulledImage[];
  /** Lines for the user. */
  readonly notices: readonly string[];
  readonly warnings: readonly LayerTrouble[];
}

export interface PullStores {
  readonly root: Pick<Root, 'aftermath' | 'caps' | 'layout' | 'locks' | 'log' | 'session'>;
  readonly layers: Pick<
    LayerStore,
    'findAll' | 'stage' | 'restage' | 'discard' | 'publish' | 'pin' | 'runInBackground'
  >;
  readonly images: Pick<ImageStore, 'add' | 'get' | 'references' | 'originals'>;
  readonly distribution: Pick<Distribution, 'add' | 'diffId'>;
}

/**
 * The image is in the store, durably, contents included, and named. Pulling again fetches the manifest and nothing else.
 *
 * @param source the repository of `reference`
 * @throws {@link LayerstackError} ERR_REGISTRY_* for what the registry does; ERR_MANIFEST_INVALID, ERR_LAYER_FOREIGN,
 *   ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_PLATFORM_NOT_FOUND, ERR_DIGEST_MISMATCH, ERR_REFERENCE_CONFLICT for what
 *   it has; ERR_INVALID_ARGUMENT, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED; and what LayerStore.stage throws of layers.
 */
export async function pull(
  stores: PullStores,
  source: PullSource & TagSource,
  reference: Reference,
  options: PullOptions = {},
): Promise<PullResult> {
  const { allTags = false, signal } = options;
  checkOptions(reference, options);
  throwIfAborted(signal);
  stores.root.session();
  await sweepPartials(stores.root.layout, stores.root.log);
  const references = allTags ? await tagged(source, signal) : [withDefaultTag(reference)];
  const results: PullResult[] = [];
  for (const each of references) results.push(await pullOne(stores, source, each, options));
  return {
    images: results.flatMap(({ images }) => images),
    notices: results.flatMap(({ notices }) => notices),
    warnings: results.flatMap(({ warnings }) => warnings),
  };
}

/** Every tag of the repository, once. What is no tag would become a name that nobody can use or remove. */
async function tagged(source: PullSource & TagSource, signal: AbortSignal | undefined): Promise<Reference[]> {
  const { repository } = source;
  const found = new Map<string, Reference>();
  const fail = (code: ErrorCode, what: string): never => {
    throw new LayerstackError(code, `tags of ${repository}: the registry lists ${what}; pull single tags`, {
      repository,
    });
  };
  for await (const tag of source.tags({ signal })) {
    if (!isTag(tag)) fail('ERR_REGISTRY_INVALID', `${JSON.stringify(tag.slice(0, 100))}, which is no tag`);
    if (found.size === MAX_TAGS && !found.has(tag))
      fail('ERR_LIMIT_EXCEEDED', `more than ${String(MAX_TAGS)} of them`);
    found.set(tag, { repository, tag });
  }
  return [...found.values()];
}

function checkOptions(
  reference: Reference,
  { allTags, platform, maxConcurrentDownloads = 1 }: PullOptions,
): void {
  if (platform !== undefined) parseKnownPlatform(platform);
  if (allTags === true && (reference.tag ?? reference.digest) !== undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${formatReference(reference)}: all tags are to be pulled, so the name must be without one`,
      { reference: formatReference(reference) },
    );
  if (!Number.isSafeInteger(maxConcurrentDownloads) || maxConcurrentDownloads < 1)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${String(maxConcurrentDownloads)} downloads at once are not possible: it must be 1 or more`,
      { found: maxConcurrentDownloads },
    );
}

async function pullOne(
  stores: PullStores,
  source: PullSource,
  reference: Reference,
  options: PullOptions,
): Promise<PullResult> {
  const { signal, onProgress, maxBytes = DEFAULT_MAX_BYTES } = options;
  // What may throw comes before what has to be stopped again.
  const platform = options.platform === undefined ? undefined : parseKnownPlatform(options.platform);
  const label = formatReference(reference);
  const canonical = canonicalName(reference.repository);
  const { tag = '', digest } = reference;
  onProgress?.({
    ...{ type: 'pulling', reference: label, repository: canonical.slice(canonical.indexOf('/') + 1) },
    id: digest === undefined ? tag : `${canonical}@${digest}`,
  });
  const pool = new LayerPool(stores.layers, {
    ...{ label, maxBytes, signal, log: stores.root.log },
    onProgress: onProgress && ((event) => onProgress(withPhase(event, downloads))),
    remedy: "the registry's copy is damaged, or it is changed on the way: pull it again, or push it again",
  });
  const keeping =
    options.keepBlobs === true
      ? new BlobRecorder(source, stores.images.originals.blobs, {
          ...{ signal: pool.signal, onProgress, maxBytes, caps: stores.root.caps },
          isKnown: ({ digest }, diffId) => isKnownAs(stores, digest, diffId),
        })
      : undefined;
  const downloads = new LayerDownloads(source, {
    ...{ layout: stores.root.layout, signal: pool.signal, onProgress },
    maxConcurrent: options.maxConcurrentDownloads ?? DEFAULT_DOWNLOADS,
    through: keeping,
  });
  const writeback = new Writeback(stores.root.layout.root, (error) => pool.fail(error));
  const tools = { platform, pool, downloads, writeback, keeping };
  const one = new Pull(stores, source, reference, options, tools);
  const running = one.run();
  const { aftermath } = stores.root;
  const tidyUp = async (): Promise<void> => {
    await running.catch(() => undefined);
    await writeback.stop();
    await pool.close();
    await aftermath.run('what was to be kept stays half written', async () => keeping?.close());
  };
  const endDownloads = (): Promise<unknown> =>
    aftermath.run('what was downloaded is not there for the next pull', () => downloads.close());
  try {
    if (signal) await unlessAborted(signal, Promise.race([running, one.staged]));
    return await running;
  } catch (error) {
    throw pool.fail(error);
  } finally {
    // Who stops a pull does not wait until what was extracted is removed again; what came of the layers is there for the
    // next one.
    if (signal?.aborted === true) {
      await endDownloads();
      stores.layers.runInBackground(tidyUp());
    } else {
      await tidyUp();
      await endDownloads();
    }
  }
}

type Event = Parameters<OnProgress>[0];

function withPhase(event: Event, downloads: LayerDownloads): Event {
  if (event.type !== 'layer-progress' || event.blob === undefined) return event;
  return { ...event, phase: downloads.phase(event.blob, event.current, event.total ?? Infinity) };
}

interface Tools {
  readonly platform: Platform | undefined;
  readonly pool: LayerPool;
  readonly downloads: LayerDownloads;
  readonly writeback: Writeback;
  readonly keeping: BlobRecorder | undefined;
}

/** One reference on its way into the store. */
class Pull {
  readonly #stores: PullStores;
  readonly #source: PullSource;
  readonly #reference: Reference;
  readonly #label: string;
  readonly #options: PullOptions;
  readonly #tools: Tools;
  readonly #notices: string[] = [];
  #onStaged!: () => void;
  /** Resolves when every layer is staged: from then on there is no stopping at once. */
  readonly staged = new Promise<void>((resolve) => (this.#onStaged = resolve));

  constructor(
    stores: PullStores,
    source: PullSource,
    reference: Reference,
    options: PullOptions,
    tools: Tools,
  ) {
    this.#stores = stores;
    this.#source = source;
    this.#reference = reference;
    this.#label = formatReference(reference);
    this.#options = options;
    this.#tools = tools;
  }

  async run(): Promise<PullResult> {
    const { tag = '', digest: asked } = this.#reference;
    const { signal } = this.#tools.pool;
    const { platform } = this.#tools;
    const wanted = platform ?? hostPlatform();
    const { digest, manifest, documents } = await resolveManifest(
      this.#source,
      this.#label,
      asked ?? tag,
      wanted,
      signal,
    );
    const id = manifest.config.digest as Digest as ImageID;
    await this.#checkDigestName(digest, id);
    await using kept = this.#tools.keeping && (await this.#stores.images.originals.keep(signal));
    await using imageLock = await this.#lock([`image ${id}`]);
    void imageLock;

    const known = await this.#known(id);
    const raw = known ?? (await fetchConfig(this.#source, this.#label, manifest.config, signal));
    const layers = manifest.layers.map((blob) => ({ member: this.#tools.downloads.member(blob), blob }));
    const planned = planImage(this.#label, `config ${id}`, raw, layers);
    const image: PlannedImage = { ...planned, references: [] };
    if (platform) selectPlatform(this.#label, [image], platform);

    const missing = await this.#missing(image);
    await using layerLock = await this.#lock(missing.map((chain) => `layer ${chain}`));
    void layerLock;
    const isThere = known !== undefined && missing.length === 0;
    const { result: updated, fresh, ...published } = await this.#publish(image, digest, isThere);
    await this.#stores.root.aftermath.run('where its layers come from could not be kept', async () => {
      const verified = await this.#verified(image, fresh);
      if (!isThere) await this.#note(verified);
      if (this.#tools.keeping || verified.length === image.layers.length)
        await this.#stores.images.originals.add(id, documents);
      kept?.done();
    });
    const pulled = { id, reference: this.#label, digest, updated };
    this.#report(pulled, published);
    const notices = [...this.#notices, ...published.notices];
    return { images: [pulled], notices, warnings: published.warnings };
  }

  /** The layers' content is fetched, published, and the image is named: whether that changed what the name means. */
  #publish(image: PlannedImage, digest: Digest, isThere: boolean) {
    const { pool, downloads, writeback, keeping } = this.#tools;
    const onProgress = isThere ? undefined : this.#options.onProgress;
    const { signal } = this.#options;
    const staged = async (): Promise<void> => {
      await keeping?.settle(image.layers);
      this.#onStaged();
      return downloads.removePartials();
    };
    return publishImages(
      this.#stores.layers,
      [image],
      { operation: 'pull', pool, writeback, signal, onProgress, staged },
      () => this.#name(image, digest),
    );
  }

  /** The config's bytes where the store has the image. */
  async #known(id: ImageID): Promise<Uint8Array | undefined> {
    try {
      return (await this.#stores.images.get(id)).raw;
    } catch (error) {
      if (LayerstackError.is(error)) return undefined;
      throw error;
    }
  }

  /** The chains that the store lacks. */
  async #missing({ config }: PlannedImage): Promise<ChainID[]> {
    const chain = chainIds(config.diffIds);
    const found = await this.#stores.layers.findAll(chain);
    return chain.filter((_, index) => found[index] === undefined);
  }

  /** The `pulls` locks of these objects; where another has one of them, its pull is waited for. */
  async #lock(keys: readonly string[]): Promise<Lock> {
    const { locks } = this.#stores.root;
    const { signal } = this.#tools.pool;
    return (
      tryLocks(locks, keys) ??
      (this.#options.onProgress?.({
        type: 'waiting',
        reference: this.#label,
        message: `another pull is fetching ${this.#label} or layers of it: waiting for it`,
      }),
      locks.acquireAll('pulls', keys, { signal }))
    );
  }

  /**
   * A name by digest never moves, so an index whose `name@digest` is the image of another platform cannot be pulled by digest.
   * @throws {@link LayerstackError} ERR_REFERENCE_CONFLICT, before anything is fetched.
   */
  async #checkDigestName(digest: Digest, id: ImageID): Promise<void> {
    if (this.#reference.digest === undefined) return;
    const name = formatReference({ repository: this.#reference.repository, digest });
    const owner = await this.#owner(name);
    if (owner === undefined || owner === id) return;
    throw new LayerstackError(
      'ERR_REFERENCE_CONFLICT',
      `${name} names image ${owner} already, of another platform; remove that name first (layerstack rmi ${name})`,
      { reference: name, id: owner },
    );
  }

  async #owner(name: string): Promise<ImageID | undefined> {
    const references = await this.#stores.images.references();
    return [...references].find(([, names]) => names.includes(name))?.[0];
  }

  /** The config is stored and the names point to it; whether the pulled name did not before. */
  async #name({ config }: PlannedImage, digest: Digest): Promise<boolean> {
    const { repository, tag, digest: asked } = this.#reference;
    const { id } = config;
    const byDigest = { repository, digest };
    const name = asked === undefined && tag !== undefined ? { repository, tag } : byDigest;
    const before = await this.#owner(formatReference(name));
    // As docker: the tag moves, and a digest's name stays with the image of the platform that had it first.
    const digestOwner = await this.#owner(formatReference(byDigest));
    const names = digestOwner === undefined || digestOwner === id ? [name, byDigest] : [name];
    if (names.length === 1)
      this.#notices.push(
        `${formatReference(byDigest)} stays the name of image ${String(digestOwner)}, of another platform`,
      );
    await this.#stores.images.add(
      [{ config }],
      names.map((reference) => ({ reference, id })),
      { signal: this.#options.signal },
    );
    return before !== id;
  }

  /**
   * The layers that are known to be the blobs that the manifest names. Of a layer that the store had, the blob was not
   * fetched: the manifest may name any, and a push that believed it would give out other bytes under the image's name.
   */
  async #verified({ layers }: PlannedImage, fresh: readonly StagedLayer[]): Promise<VerifiedLayer[]> {
    const seen = new Set(fresh.map(({ diffId, applied }) => `${applied.blobDigest} ${diffId}`));
    const verified: VerifiedLayer[] = [];
    for (const { diffId, blob } of layers) {
      if (!blob) continue;
      const { digest } = blob;
      if (seen.has(`${digest} ${diffId}`) || (await isKnownAs(this.#stores, digest, diffId)))
        verified.push({ diffId, digest });
    }
    return verified;
  }

  /** Notes where the layers come from. */
  async #note(verified: readonly VerifiedLayer[]): Promise<void> {
    const repository = canonicalName(this.#reference.repository);
    const entries = verified.map(({ diffId, digest }) => ({
      ...{ diffId, source: { digest, repository, hmac: '' } },
    }));
    await this.#stores.distribution.add(entries);
  }

  #report(
    pulled: PulledImage,
    { notices, warnings }: { notices: readonly string[]; warnings: readonly LayerTrouble[] },
  ): void {
    const { onProgress } = this.#options;
    if (!onProgress) return;
    for (const warning of warnings) onProgress({ type: 'warning', ...warning });
    for (const message of [...this.#notices, ...notices]) onProgress({ type: 'notice', message });
    onProgress({ type: 'pulled', ...pulled });
  }
}

interface VerifiedLayer {
  readonly diffId: DiffID;
  readonly digest: Digest;
}

/** Whether an earlier pull or push has found the blob to be this layer. */
async function isKnownAs({ distribution }: PullStores, blob: Digest, diffId: DiffID): Promise<boolean> {
  return (await distribution.diffId(blob)) === diffId;
}

/** All the locks, or none. */
function tryLocks(locks: Locks, keys: readonly string[]): Lock | undefined {
  const tried = locks.tryEach('pulls', keys);
  if (tried.keys.size === keys.length) return tried;
  void tried.release();
  return undefined;
}
