/**
 * The facade: one opened store with all that can be done with it. It owns the stores below it and their
 * lifetime, names things as callers do (references, names, short ids), and adds nothing of its own. What only some
 * callers need (archives, the doctor) is imported when it is called, so that `layerstack images` starts quickly.
 */
import { fstat } from 'node:fs';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { throwIfAborted } from '../core/abort.ts';
import { checkArguments } from '../core/arguments.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag, type Reference } from '../core/reference.ts';
import type { StoreFinding } from '../core/store-finding.ts';
import type { Change } from '../rwlayer/changes.ts';
import type { CommitOptions } from '../container/commit.ts';
import type { ArchiveOptions, PathArchive, PutArchiveOptions } from '../container/archive.ts';
import type { CopyOptions } from '../container/copy.ts';
import type { PathStat } from '../container/path-stat.ts';
import type { Bundle, BundleOptions } from '../container/bundle.ts';
import type { ContainerInspect } from '../container/inspect.ts';
import type { Endpoints } from '../container/documents.ts';
import { NamedObjects } from '../container/named-objects.ts';
import type { Mount, MountOptions, UnmountOptions } from '../container/mount.ts';
import type { Container } from '../container/record.ts';
import {
  ContainerStore,
  type ContainerPruneFilters,
  type ContainerPruneResult,
  type ContainerSize,
  type ContainerUsage,
  type CreateOptions,
  type RemoveOptions,
} from '../container/store.ts';
import {
  ImageStore,
  type DeletedRecord,
  type DeleteOptions,
  type HistoryRow,
  type ImageInspect,
  type ImageSummary,
  type ImageUsage,
  type LayerTree,
  type ListOptions,
  type OnDeletion,
  type PruneOptions,
  type PruneResult,
} from '../image/store.ts';
import { LayerStore } from '../layer/store.ts';
import { Overlay } from '../layer/overlay.ts';
import type { ImageID } from '../core/digest.ts';
import { useAddon } from '../system/addon.ts';
import type { Capabilities } from '../system/caps.ts';
import type { Logger } from '../system/log.ts';
import { timed, timedBytes } from '../system/phases.ts';
import { Root } from '../system/root.ts';
import type { ExportOptions } from '../transfer/archive/export.ts';
import type { ImportOptions } from '../transfer/archive/import.ts';
import type { LoadOptions, LoadResult } from '../transfer/archive/load.ts';
import type { SaveOptions } from '../transfer/archive/save.ts';
import type { DiskImageOptions } from '../transfer/archive/disk-image.ts';
import type { PullOptions, PullResult } from '../transfer/pull/pull.ts';
import type { PulledLayout, PullLayoutOptions } from '../transfer/pull/layout.ts';
import type { PushOptions, PushResult } from '../transfer/push/push.ts';
import type { Credentials } from '../transfer/registry/auth/credentials.ts';
import type { RequestOptions } from '../transfer/registry/client.ts';
import type { WebFile } from '../transfer/registry/web-file.ts';
import type {
  InspectOptions as InspectRemoteOptions,
  Referrer,
  RemoteManifest,
  RemovedRemote,
} from '../transfer/remote/remote.ts';
import { ByteStreams } from './byte-stream.ts';
import type { Finding } from './doctor.ts';
import { EventJournal, readEvents, type EventsOptions, type RecordedEvent } from './event-journal.ts';
import type { FsckOptions } from './fsck.ts';
import type { LoginOptions, LoginResult, LogoutOptions } from './login.ts';
import { Registries, type RegistryOptions } from './registries.ts';
import { SIGNATURES } from './signatures.ts';
import { StoreEvents, type ImageAction, type StoreListener } from './store-events.ts';

const fstatFd = promisify(fstat);

/** Where the store is when nobody says otherwise. */
export const DEFAULT_ROOT = '/var/lib/layerstack';

export interface OpenOptions {
  /** The store's directory, made when missing; Docker's own (`/var/lib/docker`) works too. */
  readonly root?: string | undefined;
  /** Writes nothing, and so works beside a running dockerd. Default false. */
  readonly readOnly?: boolean | undefined;
  /**
   * Opens a root that others than root can write to, or rename: they can make root read and write anything. Default
   * false: such a root is refused (ERR_STORE_UNSAFE).
   */
  readonly allowUnsafeRoot?: boolean | undefined;
  /**
   * Default: `NODE_DEBUG=layerstack`. A change that has happened resolves, also where something behind it fails: a warning that
   * begins with `done, but` says what.
   */
  readonly log?: Logger | undefined;
  /**
   * File of the native addon, where it is neither in the package nor named by `LAYERSTACK_ADDON`, as in a bundled program. A
   * process loads one: the first `open` that names it decides.
   */
  readonly addon?: string | undefined;
}

/** What a store takes on disk, in the terms of docker's API; sizes in bytes. */
export interface DiskUsage extends ImageUsage {
  readonly Containers: readonly ContainerUsage[];
}

export interface NameOptions {
  /** What the new image shall be called, `NAME[:TAG]`. Default: it has no name. */
  readonly reference?: string | undefined;
}

/** A container, or anything that names one: its id, the beginning of it, or its name. */
export type ContainerRef = Container | string;

/**
 * A container that was made just now. Disposed, it is unmounted, whoever has mounted it and whatever is open in it, and removed;
 * where it is gone already, nothing happens.
 */
export interface NewContainer extends Container, AsyncDisposable {}

/**
 * An opened store.
 *
 * @example
 * ```ts
 * const store = await Layerstack.open({ root: '/var/lib/layerstack' });
 * try {
 *   await store.load('alpine.tar');
 *   const container = await store.create('alpine:latest', { name: 'build' });
 *   const mount = await store.mount(container);
 *   console.log(await readFile(`${mount.path}/etc/os-release`, 'utf8'));
 *   await mount.unmount();
 *   await store.remove(container);
 * } finally {
 *   await store.close();
 * }
 * ```
 */
export class Layerstack implements AsyncDisposable {
  readonly #root: Root;
  readonly #layers: LayerStore;
  readonly #images: ImageStore;
  readonly #containers: ContainerStore;
  readonly #registries: Registries;
  readonly #events: StoreEvents;
  readonly #journal: EventJournal;
  readonly #streams = new ByteStreams();

  private constructor(root: Root) {
    this.#root = root;
    this.#registries = new Registries(root.layout.root, { allowUnsafeRoot: true, log: root.log });
    this.#events = new StoreEvents(root.log);
    this.#journal = new EventJournal(root);
    if (!root.readOnly) this.#events.listen(this.#journal.record);
    this.#layers = new LayerStore(root);
    this.#images = new ImageStore(root, this.#layers);
    this.#containers = new ContainerStore(root, this.#layers, this.#images, new Overlay(root.layout));
  }

  /**
   * Opens a store. Several processes may have it open; dockerd must not, except beside a read-only one.
   * @throws {@link LayerstackError} ERR_STORE_LOCKED while dockerd runs on the root, ERR_NOT_ROOT without
   *   CAP_SYS_ADMIN, ERR_STORE_UNSUPPORTED where the file system lacks something that overlay2 needs,
   *   ERR_INVALID_ARGUMENT for a bad root, ERR_STORE_UNSAFE for one that others can write to, ERR_ADDON where the native addon
   *   cannot be loaded.
   */
  static async open(options: OpenOptions = {}): Promise<Layerstack> {
    const { root = DEFAULT_ROOT, readOnly = false, allowUnsafeRoot = false, log, addon } = options;
    // open({ root: process.env.UNSET_BUT_EMPTY }) must not open some other store.
    if (root === '')
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        "the store's root is no path: use open({ root: '/var/lib/layerstack' })",
      );
    if (addon !== undefined) useAddon(addon);
    const store = new Layerstack(await Root.open(root, { readOnly, allowUnsafeRoot, ...(log && { log }) }));
    if (!readOnly) {
      await store.#containers.resume();
      await store.#images.resume();
      for (const objects of [store.networks, store.volumes]) await objects.resume();
    }
    return store;
  }

  /** Says what this machine and the store at `root` can do, also where it cannot be opened. Changes nothing. */
  static async diagnose(root: string = DEFAULT_ROOT): Promise<Finding[]> {
    const { diagnose } = await import('./doctor.ts');
    return diagnose(root);
  }

  /** The store's directory: absolute and canonical. */
  get root(): string {
    return this.#root.layout.root;
  }

  get readOnly(): boolean {
    return this.#root.readOnly;
  }

  /** What kernel and file system can do, as it was tried when the store was opened. */
  get capabilities(): Capabilities {
    return this.#root.caps;
  }

  /**
   * Calls `listener` with each thing that is done through this store, as `docker events` shows it, until the returned function
   * is called. What other processes do on the same root is not told: {@link events} does.
   * @example
   * ```ts
   * const stop = store.onEvent(({ type, action, id }) => console.log(type, action, id));
   * ```
   */
  onEvent(listener: StoreListener): () => void {
    return this.#events.listen(listener);
  }

  /**
   * What is done to the store, by whatever process that has it open for writing: with `since` from then on as far as the store's
   * journal goes back (the latest mebibyte), then what comes, until `until`. What dockerd does on the root is not in it.
   * @throws {@link LayerstackError} (while iterating) ERR_INVALID_ARGUMENT for a bad time, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { type, action, id } of store.events({ since: '10m' })) console.log(type, action, id);
   * ```
   */
  async *events(options: EventsOptions = {}): AsyncGenerator<RecordedEvent, void, undefined> {
    yield* readEvents(this.#root.layout, options);
  }

  /**
   * Loads the images of a docker-archive, OCI archive or OCI layout folder: a path, or the archive's bytes.
   * Resolves when they are durable. All or nothing: after an error the store is as it was.
   * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_ARCHIVE_MEMBER, ERR_MANIFEST_INVALID,
   *   ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_DIGEST_MISMATCH, ERR_REFERENCE_INVALID, ERR_LIMIT_EXCEEDED,
   *   ERR_LAYER_INVALID and its like, ERR_PLATFORM_NOT_FOUND, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * const { images } = await store.load(process.stdin, { onProgress: (event) => console.error(event) });
   * ```
   */
  async load(source: string | AsyncIterable<Uint8Array>, options: LoadOptions = {}): Promise<LoadResult> {
    const { load } = await import('../transfer/archive/load.ts');
    const stores = { root: this.#root, layers: this.#layers, images: this.#images };
    const result = await this.#reclaiming(timed('load', 'total', () => load(stores, source, options)));
    for (const { id } of result.images) await this.#tellImage('load', id);
    return result;
  }

  /**
   * Pulls an image from its registry: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, from Docker Hub where there is no host. Only the
   * layers that the store lacks are fetched, each once whatever the number of processes that pull it. Resolves when the image
   * is durable. After an error the store is as it was, but for what was downloaded, which the next pull goes on from.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_REGISTRY_UNAVAILABLE, ERR_REGISTRY_DENIED,
   *   ERR_REGISTRY_NOT_FOUND and its like, ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_FOREIGN,
   *   ERR_PLATFORM_NOT_FOUND, ERR_DIGEST_MISMATCH, ERR_REFERENCE_CONFLICT, ERR_LIMIT_EXCEEDED, ERR_LAYER_INVALID and its
   *   like, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * const { images } = await store.pull('debian:bookworm-slim', { signal: AbortSignal.timeout(60_000) });
   * ```
   */
  async pull(reference: string, options: PullOptions & RegistryOptions = {}): Promise<PullResult> {
    const parsed = parseReference(reference);
    const { pull } = await import('../transfer/pull/pull.ts');
    const { Distribution } = await import('../image/distribution.ts');
    const { openRepository } = await import('../transfer/registry/client.ts');
    const distribution = new Distribution(this.#root);
    const stores = { root: this.#root, layers: this.#layers, images: this.#images, distribution };
    // Not `await using`: TypeScript 6.0 leaves imports beside it as they are.
    const source = openRepository(parsed.repository, await this.#registries.access(options));
    try {
      const result = await this.#reclaiming(
        timed('pull', 'total', () => pull(stores, source, parsed, options)),
      );
      await this.#tellTransfer('pull', options.allTags ? parsed : withDefaultTag(parsed));
      return result;
    } finally {
      await source.close();
    }
  }

  /**
   * The archive of images as a stream: in the layout of docker >= 25, which docker since 1.10, podman, skopeo and
   * umoci read. Each name is a reference, an id, or a repository (then all its tags). The layers' bytes are verified on
   * the way; errors come through the stream. Needs no writable store.
   * @throws {@link LayerstackError} (in the stream) ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_LAYER_NOT_FOUND,
   *   ERR_STORE_CORRUPT with the `member` that was changed behind the store's back, ERR_ABORTED.
   * @example
   * ```ts
   * await pipeline(store.save(['alpine:latest']), createWriteStream('alpine.tar'));
   * ```
   */
  save(images: string | readonly string[], options: SaveOptions = {}): Readable {
    const names = typeof images === 'string' ? [images] : images;
    return this.#streams.from(async () => {
      const { save } = await import('../transfer/archive/save.ts');
      const onSaved = (id: ImageID): Promise<void> => this.#tellImage('save', id);
      return timedBytes(
        'save',
        save({ layers: this.#layers, images: this.#images }, names, options, onSaved),
      );
    });
  }

  /**
   * Writes the archive that {@link save} gives to an open file, pipe or socket, the fastest way out; resolves when all of it is
   * written, nothing of it synced. The fd stays the caller's, also after an error, when part of the archive may be in it.
   * @throws {@link LayerstackError} as {@link save}; system errors of write(2), such as EPIPE and ENOSPC.
   * @example
   * ```ts
   * await using file = await open('alpine.tar', 'w');
   * await store.saveTo(file.fd, 'alpine:latest');
   * ```
   */
  async saveTo(fd: number, images: string | readonly string[], options: SaveOptions = {}): Promise<void> {
    if (!Number.isInteger(fd) || fd < 0)
      throw new LayerstackError('ERR_INVALID_ARGUMENT', `${fd} is no file descriptor: open the file first`);
    const names = typeof images === 'string' ? [images] : images;
    const { saveTo } = await import('../transfer/archive/save.ts');
    const onSaved = (id: ImageID): Promise<void> => this.#tellImage('save', id);
    const stores = { layers: this.#layers, images: this.#images };
    await timed('save', 'total', () => saveTo(fd, stores, names, options, onSaved));
  }

  /**
   * Tries credentials at a registry (`HOST[:PORT]`, Docker Hub where empty) and keeps them where `docker login` does: in
   * config.json, or with the helper that it names. Durable on return.
   * @throws {@link LayerstackError} ERR_REGISTRY_DENIED when they are refused, ERR_REGISTRY_UNAVAILABLE and its like,
   *   ERR_CREDENTIALS_INVALID where they cannot be kept, ERR_INVALID_ARGUMENT for what is no registry, ERR_ABORTED.
   * @example
   * ```ts
   * await store.login('registry.example', { username: 'ci', password: process.env.REGISTRY_PASSWORD });
   * ```
   */
  async login(registry: string, credentials: Credentials, options: LoginOptions = {}): Promise<LoginResult> {
    const { login } = await import('./login.ts');
    return login(this.root, registry, credentials, {
      ...{ log: this.#root.log, allowUnsafeRoot: true },
      ...options,
    });
  }

  /**
   * Forgets the login at a registry; false where there was none. Durable on return.
   * @throws {@link LayerstackError} ERR_CREDENTIALS_INVALID, ERR_INVALID_ARGUMENT, ERR_ABORTED.
   */
  async logout(registry: string, options: LogoutOptions = {}): Promise<boolean> {
    const { logout } = await import('./login.ts');
    return logout(registry, options);
  }

  /**
   * The image that `reference` names (tag `latest` by default) is in its registry when this resolves, with the digest of its
   * manifest. Layers that the registry has are not read; the others are rebuilt, verified and compressed on all processors.
   * After an error nothing of it is to be seen in the registry, and the store is as it was.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_IMAGE_NOT_FOUND, ERR_INVALID_ARGUMENT,
   *   ERR_COMPRESSION_UNSUPPORTED, ERR_STORE_CORRUPT naming the layer that cannot be rebuilt, ERR_REGISTRY_*, ERR_ABORTED.
   * @example
   * ```ts
   * const { images } = await store.push('localhost:5000/app:1', { onProgress: (event) => console.error(event) });
   * ```
   */
  async push(reference: string, options: PushOptions & RegistryOptions = {}): Promise<PushResult> {
    const parsed = parseReference(reference);
    const { push } = await import('../transfer/push/push.ts');
    const { Distribution } = await import('../image/distribution.ts');
    const { openRepository } = await import('../transfer/registry/client.ts');
    const distribution = new Distribution(this.#root);
    const { originals } = this.#images;
    const stores = { root: this.#root, layers: this.#layers, images: this.#images, distribution, originals };
    const access = await this.#registries.access(options);
    const client = openRepository(parsed.repository, access);
    try {
      const target = { client, credentials: access.credentials };
      const result = await timed('push', 'total', () => push(stores, target, parsed, options));
      await this.#tellTransfer('push', options.allTags ? parsed : withDefaultTag(parsed));
      return result;
    } finally {
      await client.close();
    }
  }

  /**
   * Pulls an image of all platforms into an OCI layout in `directory`, byte for byte as the registry has it. Nothing of this
   * store changes. What is there already is not fetched again, so a pull that was broken off goes on.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `directory` is neither new nor an OCI layout, ERR_STORE_LOCKED
   *   while another pull writes there, ERR_REFERENCE_INVALID, ERR_MANIFEST_INVALID, ERR_DIGEST_MISMATCH, ERR_REGISTRY_*,
   *   ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED.
   */
  pullLayout(
    reference: string,
    directory: string,
    options: PullLayoutOptions & RegistryOptions = {},
  ): Promise<PulledLayout> {
    return this.#registries.pullLayout(reference, directory, options);
  }

  /**
   * The manifest or index that a registry has for a reference (tag `latest` by default), its digest verified.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_MANIFEST_INVALID, ERR_DIGEST_MISMATCH, ERR_REGISTRY_*,
   *   ERR_CREDENTIALS_INVALID, ERR_ABORTED.
   */
  manifest(reference: string, options: InspectRemoteOptions & RegistryOptions = {}): Promise<RemoteManifest> {
    return this.#registries.manifest(reference, options);
  }

  /**
   * The tags of a repository in its registry, as its pages come.
   * @throws {@link LayerstackError} (while iterating) ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  tags(repository: string, options: RequestOptions & RegistryOptions = {}): AsyncIterable<string> {
    return this.#registries.tags(repository, options);
  }

  /**
   * The manifests in a registry that refer to this one: signatures, SBOMs, attestations.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  referrers(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<Referrer[]> {
    return this.#registries.referrers(reference, options);
  }

  /**
   * Deletes a manifest in its registry: given by digest, or by a tag (then, where the registry cannot delete a tag alone, all tags
   * of the manifest go). Nothing in this store changes.
   * @throws {@link LayerstackError} ERR_REGISTRY_UNSUPPORTED where the registry does not delete, ERR_REGISTRY_NOT_FOUND,
   *   ERR_REFERENCE_INVALID, ERR_REGISTRY_*, ERR_ABORTED.
   */
  removeRemote(reference: string, options: RequestOptions & RegistryOptions = {}): Promise<RemovedRemote> {
    return this.#registries.remove(reference, options);
  }

  /**
   * Has the next writer of this store remove the file at `path`, absolute, if this process dies before the result is disposed:
   * for a file that is renamed to its place when it is complete. Its name must begin with `.tmp-`. A store that cannot be
   * written (it is open read-only, its disk is full) notes nothing.
   */
  async announceTemporary(path: string): Promise<AsyncDisposable> {
    try {
      return await this.#root.session().temporary(path);
    } catch (error) {
      this.#root.log.debug('a temporary file is not noted', { path, error });
      return { [Symbol.asyncDispose]: () => Promise.resolve() };
    }
  }

  /** The images, newest first, as `docker images` lists them. */
  images(options: ListOptions = {}): Promise<ImageSummary[]> {
    return this.#images.list(options);
  }

  /**
   * Names an image, durably; `reference` names no other image any more.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_REFERENCE_INVALID, ERR_STORE_READ_ONLY.
   */
  async tag(image: string, reference: string): Promise<void> {
    const target = parseReference(reference);
    if (target.digest !== undefined)
      throw new LayerstackError(
        'ERR_REFERENCE_INVALID',
        `refusing to create a tag with a digest reference: ${reference}`,
        { reference },
      );
    const id = await this.#images.resolve(image);
    await this.#images.tag(target, id);
    await this.#tellImage('tag', id, formatReference(withDefaultTag(target)));
  }

  /**
   * Takes a name from its image and, with the last one, or where an id is given, deletes the image: its config, the
   * layers that nothing else has, and its untagged parents. Returns what was done, as docker says it; the
   * layers' bytes go in the background, {@link close} waits.
   * @throws {@link LayerstackError} ERR_IMAGE_IN_USE by containers, child images or (given an id) several names;
   *   ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_READ_ONLY.
   */
  removeImage(image: string, options: DeleteOptions = {}): Promise<DeletedRecord[]> {
    return this.#images.remove(image, () => this.#containers.users(), options, this.#tellDeletion);
  }

  /**
   * Deletes the images without a tag or, with `all`, without a container, and every layer that nothing refers to.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter; ERR_STORE_READ_ONLY unless it is a dry run.
   */
  async prune(options: PruneOptions = {}): Promise<PruneResult> {
    const result = await this.#images.prune(() => this.#containers.users(), options, this.#tellDeletion);
    if (options.dryRun !== true) this.#events.prune('image', result.SpaceReclaimed);
    return result;
  }

  /**
   * How an image came about, newest step first, as `docker history` says it.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async history(image: string): Promise<HistoryRow[]> {
    return this.#images.history(await this.#images.resolve(image));
  }

  /** The layers as a tree, with the images on them. */
  tree(): Promise<LayerTree[]> {
    return this.#images.tree();
  }

  /** What images and containers take on disk. The layers' sizes come from their metadata, the containers' are counted. */
  async diskUsage(): Promise<DiskUsage> {
    const Containers = await this.#containers.usage();
    const users = Containers.map(({ container, active }) => ({
      containerId: container.id,
      imageId: container.imageId,
      running: active,
    }));
    const kept = Containers.flatMap(({ container }) => container.parent ?? []);
    return { ...(await this.#images.usage(users, kept)), Containers };
  }

  /**
   * All about an image, as `docker image inspect` says it.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspect(image: string): Promise<ImageInspect> {
    return this.#images.inspect(await this.#images.resolve(image));
  }

  /**
   * Makes a container: an empty writable layer on the image. Atomic; with `durable` it is on disk when this resolves, without it a
   * power cut may take it, empty as it was.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT, ERR_UNSUPPORTED for a
   *   key of the host config that no bundle can carry, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using container = await store.create('alpine:latest'); // gone at the end of the block
   * await using mount = await store.mount(container);
   * await writeFile(`${mount.path}/etc/motd`, 'hello');
   * ```
   */
  async create(image: string, options: CreateOptions = {}): Promise<NewContainer> {
    throwIfAborted(options.signal);
    const id = await this.#images.resolve(image);
    try {
      const container = await this.#containers.create(id, { imageName: imageName(image, id), ...options });
      this.#events.container('create', container);
      return this.#withEnd(container);
    } catch (error) {
      // Layers that go with an image which is deleted meanwhile are no damage of the store.
      if (LayerstackError.is(error) && error.kind === 'data-loss') await this.#images.resolve(id);
      throw error;
    }
  }

  /** All containers, newest first, those that dockerd made too. */
  containers(): Promise<Container[]> {
    return this.#containers.list();
  }

  /**
   * The container that an id, the beginning of one, or a name means.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async container(ref: ContainerRef): Promise<Container> {
    return typeof ref === 'string' ? this.#containers.resolve(ref) : ref;
  }

  /**
   * All about a container, as `docker container inspect` says it.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspectContainer(ref: ContainerRef): Promise<ContainerInspect> {
    const { inspectContainer } = await import('../container/inspect.ts');
    return inspectContainer(this.#root.layout, await this.container(ref));
  }

  /**
   * Mounts a container's root file system. The mount outlives this process; each `mount` needs its `unmount`.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_CONTAINER_MOUNTED, ERR_STORE_CORRUPT,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await using mount = await store.mount('build');
   * await writeFile(`${mount.path}/etc/motd`, 'hello');
   * ```
   */
  async mount(ref: ContainerRef, options: MountOptions = {}): Promise<Mount> {
    const container = await this.container(ref);
    const mount = await this.#containers.mount(container, options);
    this.#events.container('mount', container);
    let told = false;
    const unmount = async (): Promise<void> => {
      await mount.unmount();
      if (!told) this.#events.container('unmount', container);
      told = true;
    };
    return { ...mount, unmount, [Symbol.asyncDispose]: unmount };
  }

  /**
   * Gives back one use of a container's mount; the last one unmounts. Resolves with the uses left.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED while files in it are in use, unless forced.
   */
  async unmount(ref: ContainerRef, options: UnmountOptions = {}): Promise<number> {
    const container = await this.container(ref);
    const left = await this.#containers.unmount(container, options);
    this.#events.container('unmount', container);
    return left;
  }

  /** Whether a container's root file system is mounted. */
  async isMounted(ref: ContainerRef): Promise<boolean> {
    return this.#containers.isMounted(await this.container(ref));
  }

  /**
   * What a container changed, as `docker diff` lists it, sorted. Walks its writable layer only, mounted or not.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_UPPER_UNSUPPORTED.
   */
  async diff(ref: ContainerRef): Promise<Change[]> {
    const container = await this.container(ref);
    const { listChanges } = await import('../rwlayer/changes.ts');
    return this.#unlessRemoved(container, listChanges(this.#root, container));
  }

  /**
   * Makes an image of a container's changes; without changes it shares all layers with the container's image. Resolves when
   * the image is durable, with its id. After an error the store is as it was.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_REFERENCE_INVALID, ERR_INVALID_ARGUMENT for a malformed
   *   change, ERR_UPPER_CHANGED where a file shrinks meanwhile, ERR_UPPER_UNSUPPORTED, ERR_NO_SPACE, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.commit('build', { reference: 'app:1', changes: ['CMD ["/app"]'] });
   * ```
   */
  async commit(ref: ContainerRef, options: CommitOptions & NameOptions = {}): Promise<ImageID> {
    const reference = tagOf(options.reference);
    const stores = { root: this.#root, layers: this.#layers, images: this.#images };
    const { commit } = await import('../container/commit.ts');
    const container = await this.container(ref);
    const id = await this.#reclaiming(
      timed('commit', 'total', () =>
        this.#unlessRemoved(container, commit(stores, container, reference, options)),
      ),
    );
    const imageRef = reference && formatReference(reference);
    if (imageRef !== undefined) await this.#tellImage('tag', id, imageRef);
    const comment = options.message ?? '';
    this.#events.container('commit', container, { comment, imageID: id, imageRef: imageRef ?? '' });
    return id;
  }

  /**
   * The root file system of a container as a tar stream, as `docker export` gives it. Mounts it read-only where it is not
   * mounted. Errors come through the stream.
   * @throws {@link LayerstackError} (in the stream) ERR_CONTAINER_NOT_FOUND, ERR_UPPER_CHANGED, ERR_STORE_READ_ONLY,
   *   ERR_ABORTED.
   */
  export(ref: ContainerRef, options: ExportOptions = {}): Readable {
    return this.#streams.from(async () => {
      const { exportContainer } = await import('../transfer/archive/export.ts');
      const container = await this.container(ref);
      const onExported = (): void => this.#events.container('export', container);
      return timedBytes('export', exportContainer(this.#containers, container, options, onExported));
    });
  }

  /**
   * Writes the root file system of a container, or where there is none of that name of an image, to an empty regular file: EROFS
   * with 4 KiB blocks. The same image gives the same bytes. Nothing is synced. The fd stays the caller's, also after an error, when
   * part of the image may be in the file.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where the file is none, or not empty; ERR_IMAGE_NOT_FOUND,
   *   ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT, ERR_LIMIT_EXCEEDED, ERR_UPPER_CHANGED, ERR_ABORTED; system errors of write(2).
   * @example
   * ```ts
   * await using file = await open('disk.erofs', 'w');
   * await store.writeImage(file.fd, 'alpine:latest');
   * ```
   */
  async writeImage(fd: number, name: string, options: DiskImageOptions = {}): Promise<void> {
    const facts = Number.isInteger(fd) && fd >= 0 ? await fstatFd(fd) : undefined;
    if (facts?.isFile() !== true || facts.size > 0)
      throw new LayerstackError('ERR_INVALID_ARGUMENT', 'a disk image needs an empty regular file to go to');
    const { writeImageOfContainer, writeImageOfImage } = await import('../transfer/archive/disk-image.ts');
    const container = await this.container(name).catch((error: unknown) => {
      if (LayerstackError.is(error) && error.code === 'ERR_CONTAINER_NOT_FOUND') return undefined;
      throw error;
    });
    if (container) return writeImageOfContainer(fd, this.#containers, container, options);
    const { layout } = this.#root;
    const stores = { layers: this.#layers, images: this.#images, layout, overlay: new Overlay(layout) };
    await writeImageOfImage(fd, stores, await this.#images.resolve(name), options);
  }

  /**
   * Makes an image of a directory or a tar: a whole root file system or, with `base`, one layer on those of another image, without
   * a container. The source is a path, or a tar's bytes. Resolves when the image is durable, contents included, with its id. After an
   * error the store is as it was.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_INVALID_ARGUMENT for a malformed change or a missing
   *   source, ERR_IMAGE_NOT_FOUND and ERR_ID_AMBIGUOUS for the base, ERR_COMPRESSION_UNSUPPORTED, ERR_LAYER_INVALID and its like,
   *   ERR_UPPER_CHANGED where a file of a directory shrinks meanwhile, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.import('/srv/debian', { reference: 'debian:own', changes: ['CMD ["bash"]'] });
   * await store.import('build/rootfs', { base: 'debian:own', reference: 'app:1', changes: ['CMD ["/opt/app"]'] });
   * ```
   */
  async import(
    source: string | AsyncIterable<Uint8Array>,
    options: ImportOptions & NameOptions = {},
  ): Promise<ImageID> {
    const reference = tagOf(options.reference);
    const { importImage } = await import('../transfer/archive/import.ts');
    const stores = { root: this.#root, layers: this.#layers, images: this.#images };
    const id = await this.#reclaiming(
      timed('import', 'total', () => importImage(stores, source, reference, options)),
    );
    if (reference !== undefined) await this.#tellImage('tag', id, formatReference(reference));
    await this.#tellImage('import', id);
    return id;
  }

  /**
   * A file of the internet, to be imported: for the service, whose clients name it by its URL.
   * @internal
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed URL, ERR_REGISTRY_SETTINGS.
   */
  webFile(url: string): Promise<WebFile> {
    return this.#registries.webFile(url);
  }

  /**
   * Removes a container and all that was written in it. Its files are deleted in the background: {@link close} waits.
   * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED unless forced, ERR_CONTAINER_NOT_FOUND for a name.
   */
  async remove(ref: ContainerRef, options: RemoveOptions = {}): Promise<void> {
    const container = await this.container(ref);
    if (await this.#containers.remove(container, options)) this.#events.container('destroy', container);
  }

  /**
   * Gives a container another name: it has the old one or the new one, whatever happens meanwhile.
   * @throws {@link LayerstackError} ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT for a bad name or the one it has,
   *   ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async renameContainer(ref: ContainerRef, name: string): Promise<void> {
    const container = await this.container(ref);
    const renamed = await this.#containers.rename(container, name);
    this.#events.container('rename', renamed, { oldName: `/${container.name}` });
  }

  /** Networks that clients have made: their names, nothing else. */
  get networks(): NamedObjects {
    return new NamedObjects(this.#root, 'networks');
  }

  /** Volumes that clients have made: their names, nothing else. */
  get volumes(): NamedObjects {
    return new NamedObjects(this.#root, 'volumes');
  }

  /**
   * Notes that a container shall be in a network when somebody runs it, with docker's `EndpointSettings`. Durable.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async connect(ref: ContainerRef, network: string, settings: Endpoints[string] = {}): Promise<void> {
    await this.#containers.connect(await this.container(ref), network, settings);
  }

  /**
   * Notes that a container shall not be in a network.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where it was not to be, ERR_CONTAINER_NOT_FOUND, ERR_STORE_READ_ONLY.
   */
  async disconnect(ref: ContainerRef, network: string): Promise<void> {
    await this.#containers.disconnect(await this.container(ref), network);
  }

  /**
   * Removes every container that neither runs nor is mounted and that fits the filters.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter, ERR_STORE_READ_ONLY.
   */
  async pruneContainers(
    filters: ContainerPruneFilters = {},
    { signal }: Pick<RemoveOptions, 'signal'> = {},
  ): Promise<ContainerPruneResult> {
    const onRemoved = (container: Container): void => this.#events.container('destroy', container);
    const result = await this.#containers.prune(filters, onRemoved, signal);
    this.#events.prune('container', result.SpaceReclaimed);
    return result;
  }

  /**
   * What a container takes on disk. Reads its whole writable layer.
   * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async containerSize(ref: ContainerRef): Promise<ContainerSize> {
    return this.#containers.size(await this.container(ref));
  }

  /**
   * Writes an OCI bundle of a container to `directory`, for `runc run --bundle`. It runs as the container's config and host config
   * ask. Mounts the container unless it is mounted; the runtime needs that mount until it has ended, so {@link unmount} it then.
   * @throws {@link LayerstackError} ERR_USER_NOT_FOUND, ERR_CONFIG_INVALID without a command, ERR_PATH_NOT_FOUND and ERR_PATH_TYPE for a
   *   device or directory of the host, ERR_INVALID_ARGUMENT for a propagation that the host's mount does not allow, and what
   *   `mount` throws.
   */
  async bundle(ref: ContainerRef, directory: string, options: BundleOptions = {}): Promise<Bundle> {
    const { writeBundle } = await import('../container/bundle.ts');
    const container = await this.container(ref);
    const there = await this.#containers.mounted(container);
    if (there) return writeBundle(this.#root, container, there, directory, options);
    const mount = await this.#containers.mountForProcess(container);
    try {
      const bundle = await writeBundle(this.#root, container, mount, directory, options);
      await mount.keep();
      this.#events.container('mount', container);
      return bundle;
    } catch (error) {
      await mount.unmount();
      throw error;
    }
  }

  /**
   * What is at a path of a container, in the form of Docker's archive API. A link at its end is not followed.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, and what `mount` throws.
   */
  async statPath(ref: ContainerRef, path: string, options: ArchiveOptions = {}): Promise<PathStat> {
    const container = await this.container(ref);
    return this.#unlessRemoved(container, this.#containers.archive.statPath(container, path, options));
  }

  /**
   * A path of a container as a tar, whose top entry is called as the path's last component. The container is mounted
   * until the tar has been read to its end or destroyed.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, and what `mount` throws.
   * @example
   * ```ts
   * const { tar } = await store.getArchive('build', '/etc');
   * await pipeline(tar, createWriteStream('etc.tar'));
   * ```
   */
  async getArchive(
    ref: ContainerRef,
    path: string,
    options: ArchiveOptions & Pick<CopyOptions, 'followLink'> = {},
  ): Promise<PathArchive> {
    const { packOut } = await import('../container/copy.ts');
    const container = await this.container(ref);
    const archive = await this.#unlessRemoved(
      container,
      packOut(this.#containers.archive, container, path, options),
    );
    this.#streams.track(archive.tar);
    this.#events.container('archive-path', container);
    return archive;
  }

  /**
   * Extracts a tar, plain or compressed by gzip or zstd, into an existing directory of a container.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND, ERR_PATH_TYPE, ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED,
   *   ERR_COMPRESSION_UNSUPPORTED, ERR_ABORTED, and what `mount` throws.
   */
  async putArchive(
    ref: ContainerRef,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: PutArchiveOptions = {},
  ): Promise<void> {
    const container = await this.container(ref);
    await this.#unlessRemoved(container, this.#containers.archive.putArchive(container, path, tar, options));
    this.#events.container('extract-to-dir', container);
  }

  /**
   * Copies a file or directory of a container to the host, as `docker cp CONTAINER:SOURCE DESTINATION`.
   * @throws {@link LayerstackError} ERR_PATH_NOT_FOUND; ERR_PATH_TYPE where a directory and something else would take each
   *   other's place; ERR_ABORTED, and what `mount` throws.
   */
  async copyOut(
    ref: ContainerRef,
    source: string,
    destination: string,
    options: CopyOptions = {},
  ): Promise<void> {
    const { copyOut } = await import('../container/copy.ts');
    const container = await this.container(ref);
    await copyOut(this.#containers.archive, container, source, destination, options);
    this.#events.container('archive-path', container);
  }

  /**
   * Copies a file or directory of the host, or the content of a tar, into a container, as
   * `docker cp SOURCE CONTAINER:DESTINATION`.
   * @throws {@link LayerstackError} as {@link copyOut}; ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED for a tar.
   */
  async copyIn(
    ref: ContainerRef,
    source: string | AsyncIterable<Uint8Array>,
    destination: string,
    options: CopyOptions = {},
  ): Promise<void> {
    const { copyIn } = await import('../container/copy.ts');
    const container = await this.container(ref);
    await copyIn(this.#containers.archive, container, source, destination, options);
    this.#events.container('extract-to-dir', container);
  }

  /**
   * Checks layers, images and containers, and tells what is not in order as it is found; with `repair` it mends what can be
   * mended without losing anything that somebody may want. Others may use the store meanwhile.
   * @throws {@link LayerstackError} (while iterating) ERR_STORE_READ_ONLY for repairs of a store that is open read-only, ERR_ABORTED.
   * @example
   * ```ts
   * for await (const { severity, path, message } of store.fsck({ deep: true })) console.log(severity, path, message);
   * ```
   */
  async *fsck(options: FsckOptions = {}): AsyncGenerator<StoreFinding, void, undefined> {
    const { fsck } = await import('./fsck.ts');
    yield* fsck({ root: this.#root, layers: this.#layers }, options);
  }

  /** @see Layerstack.diagnose */
  doctor(): Promise<Finding[]> {
    return Layerstack.diagnose(this.root);
  }

  /**
   * Ends the streams that are still being read, waits for deletions, gives the root free. Mounts stay. Second call: no-op.
   */
  async close(): Promise<void> {
    await this.#streams.close();
    await Promise.all([this.#containers.drain(), this.#layers.drain()]);
    await this.#journal.settle();
    await this.#root.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** A copy of it, or its JSON, has the container's data alone: this method is not enumerable. */
  #withEnd(container: Container): NewContainer {
    const value = (): Promise<void> => this.remove(container, { force: true });
    return Object.defineProperty({ ...container }, Symbol.asyncDispose, { value }) as NewContainer;
  }

  /** What is missing of a container that is removed meanwhile is said as that. */
  async #unlessRemoved<T>(container: Container, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
      // Whoever removes it has its lock until it is gone altogether.
      await using lock = await this.#root.locks.acquire('containers', container.id);
      void lock;
      await this.#containers.resolve(container.id);
      throw error;
    }
  }

  /** Layers that were published for an image that did not come to be go, behind the back of whoever waits for the error. */
  async #reclaiming<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (!this.readOnly) this.#layers.runInBackground(this.#images.resume());
      throw error;
    }
  }

  /** `name`: what the event calls the image, by default its id. */
  async #tellImage(action: ImageAction, id: ImageID, name: string = id): Promise<void> {
    if (!this.#events.heard) return;
    const labels = await this.#images.get(id).then(
      ({ config }) => config.Labels,
      () => null, // gone by now
    );
    this.#events.image(action, id, name, labels);
  }

  /** docker's events of a pull and a push are about the reference, once also where that means several tags. */
  async #tellTransfer(action: 'pull' | 'push', reference: Reference): Promise<void> {
    if (!this.#events.heard) return;
    const text = formatReference(reference);
    const labels = await this.#images
      .resolve(text)
      .then((id) => this.#images.get(id))
      .then(
        ({ config }) => config.Labels,
        () => null, // several tags, of which none need be `latest`
      );
    this.#events.image(action, text, reference.repository, labels);
  }

  readonly #tellDeletion: OnDeletion = ({ action, id }, labels) =>
    this.#events.image(action, id, id, action === 'untag' ? labels : null);

  static {
    checkArguments(this, SIGNATURES);
  }
}

/** The image as `docker ps` shows it: the reference with its tag, or the id where one was given. */
function imageName(given: string, id: string): string {
  if (id.startsWith(given) || id.startsWith(`sha256:${given}`)) return id;
  return formatReference(withDefaultTag(parseReference(given)));
}

/** The name of a new image, with its tag. */
function tagOf(text: string | undefined): Reference | undefined {
  if (text === undefined) return undefined;
  const reference = parseReference(text);
  if (reference.digest !== undefined)
    throw new LayerstackError(
      'ERR_REFERENCE_INVALID',
      `an image cannot be named by a digest: ${JSON.stringify(text)}`,
      { reference: text },
    );
  return withDefaultTag(reference);
}
