/**
 * Every path of the store. Docker's tree mirrors moby/moby: daemon/internal/{layer/filestore,image/fs}.go and
 * daemon/graphdriver/overlay2/overlay.go. `layerstack/` is layerstack's own, and may be deleted while no
 * process writes. docs/store-layout.md describes each file.
 *
 * All methods return paths RELATIVE to the root, as `native.batch` and the other native functions take them;
 * {@link Layout.at} makes one absolute.
 */
import { posix } from 'node:path';
import { hexOf, type ChainID, type DiffID, type Digest, type ImageID } from '../core/digest.ts';
import type { BatchStep } from './native.ts';

/** Files of a layerdb entry or of the write-set that becomes one. */
export type LayerFile = 'cache-id' | 'diff' | 'size' | 'parent' | 'tar-split.json.gz';
/** Files of `layerdb/mounts/<name>`. */
export type MountFile = 'mount-id' | 'init-id' | 'parent';
/** Entries of `overlay2/<id>`. */
export type OverlayEntry = 'diff' | 'link' | 'lower' | 'work' | 'merged' | 'committed';
/** Files of `layerstack/packed/layers/<chain>`; see layer/packed/entry.ts. */
export type PackedFile = 'layer.tar' | 'index.erofs' | 'versions' | 'diff' | 'size' | 'parent' | 'link';
/** Keys of `imagedb/metadata/sha256/<id>`. */
export type ImageMetadataKey = 'parent' | 'lastUpdated' | 'builtLocally';

/** Each container needs thirty calls, so this makes no arrays. */
const join = (first: string, second: string, third?: string): string =>
  third === undefined ? `${first}/${second}` : `${first}/${second}/${third}`;

/** The paths of one store. */
export class Layout {
  /** Absolute and canonical, without a trailing slash (except for `/` itself). */
  readonly root: string;

  readonly repositories = 'image/overlay2/repositories.json';
  readonly imageContents = 'image/overlay2/imagedb/content/sha256';
  readonly imageMetadatas = 'image/overlay2/imagedb/metadata/sha256';
  readonly layers = 'image/overlay2/layerdb/sha256';
  readonly writeSets = 'image/overlay2/layerdb/tmp';
  readonly mounts = 'image/overlay2/layerdb/mounts';
  readonly overlay2 = 'overlay2';
  readonly links = 'overlay2/l';
  readonly containers = 'containers';
  /** dockerd holds LOCK_EX on it while it runs. Every writer of layerstack holds LOCK_SH. */
  readonly writerLock = 'volumes/metadata.db';
  readonly own = 'layerstack';
  readonly sessions = 'layerstack/sessions';
  readonly locks = 'layerstack/locks';
  readonly mountCounts = 'layerstack/mounts';
  readonly flats = 'layerstack/flat';
  readonly names = 'layerstack/names';
  readonly unused = 'layerstack/unused';
  readonly changes = 'layerstack/changes';
  /** See system/changes.ts. */
  readonly pendingChange = 'layerstack/changes/pending';
  /** See app/event-journal.ts. */
  readonly events = 'layerstack/events';
  /** See snapshot/record.ts. */
  readonly snapshots = 'layerstack/snapshots';
  /** See rwlayer/sealed.ts. */
  readonly children = 'layerstack/children';
  /** See snapshot/expire.ts. */
  readonly expiring = 'layerstack/expiring';
  readonly partials = 'layerstack/partial';
  /** See build/context/scratch.ts. */
  readonly contexts = 'layerstack/contexts';
  /** See packed/place.ts. */
  readonly archives = 'layerstack/archives';
  /** See container/run/directory.ts. */
  readonly runs = 'layerstack/runs';
  /** The caches of `RUN --mount=type=cache`, which stay between builds. */
  readonly buildCaches = 'layerstack/build-cache';
  /** Layers that are stored as their tars, and the images of which they are a part. */
  readonly packed = 'layerstack/packed';
  readonly packedLayers = 'layerstack/packed/layers';
  /** Where packed layers are mounted until an overlay holds them; see layer/packed/mount.ts. */
  readonly packedLowers = 'layerstack/packed/lowers';
  readonly packedRepositories = 'layerstack/packed/repositories.json';
  readonly packedImageContents = 'layerstack/packed/imagedb/content/sha256';
  readonly packedImageMetadatas = 'layerstack/packed/imagedb/metadata/sha256';
  readonly originalManifests = 'layerstack/manifests';
  readonly archivedBlobs = 'layerstack/blobs/sha256';
  readonly networks = 'layerstack/networks.json';
  readonly volumes = 'layerstack/volumes.json';
  /** Written by the operator; see app/form.ts. */
  readonly settings = 'layerstack/settings.json';
  /** Written by the operator; see transfer/registry/settings.ts. */
  readonly registrySettings = 'layerstack/registries.json';
  /** See app/scrub-status.ts. */
  readonly scrub = 'layerstack/scrub.json';
  /** A scrub holds it by flock. */
  readonly scrubLock = 'layerstack/scrub.lock';
  readonly diffIdsByDigest = 'image/overlay2/distribution/diffid-by-digest/sha256';
  readonly sourcesByDiffId = 'image/overlay2/distribution/v2metadata-by-diffid/sha256';
  /** BuildKit's snapshots, of which some are layers too. */
  readonly buildkitSnapshots = 'buildkit/snapshots.db';

  constructor(root: string) {
    this.root = root;
  }

  /** Returns the absolute path of a relative one. */
  at(relative: string): string {
    return this.root === '/' ? `/${relative}` : `${this.root}/${relative}`;
  }

  imageContent(id: ImageID): string {
    return join(this.imageContents, hexOf(id));
  }
  imageMetadata(id: ImageID, key?: ImageMetadataKey): string {
    return join(this.imageMetadatas, hexOf(id), key);
  }
  packedImageContent(id: ImageID): string {
    return join(this.packedImageContents, hexOf(id));
  }
  packedImageMetadata(id: ImageID, key?: ImageMetadataKey): string {
    return join(this.packedImageMetadatas, hexOf(id), key);
  }
  layer(chainId: ChainID, file?: LayerFile): string {
    return join(this.layers, hexOf(chainId), file);
  }
  packedLayer(chainId: ChainID, file?: PackedFile): string {
    return join(this.packedLayers, hexOf(chainId), file);
  }
  /** `name` is `.tmp-<random>`. */
  stagedPackedLayer(name: string, file?: PackedFile): string {
    return join(this.packedLayers, name, file);
  }
  /** `name` is random. */
  packedLower(name: string): string {
    return join(this.packedLowers, name);
  }
  /** `name` is the whole directory name, `write-set-<digits>`. */
  writeSet(name: string, file?: LayerFile): string {
    return join(this.writeSets, name, file);
  }
  /** `name` is normally a container id. */
  mount(name: string, file?: MountFile): string {
    return join(this.mounts, name, file);
  }
  /** Returns the path of a lower, which is relative to `overlay2`. */
  lower(lower: string): string {
    return lower.startsWith('/') ? lower : posix.normalize(`${this.overlay2}/${lower}`);
  }
  /** `id` is a cache-id, a mount-id or an init-id. */
  overlay(id: string, entry?: OverlayEntry): string {
    return join(this.overlay2, id, entry);
  }
  /** The symlink of a layer's short name in `overlay2/l`. */
  link(link: string): string {
    return join(this.links, link);
  }
  container(id: string, file?: string): string {
    return join(this.containers, id, file);
  }
  buildCache(name: string): string {
    return join(this.buildCaches, name);
  }
  /** `name` is `<container>` or `<container>.rm`. */
  run(name: string, file?: string): string {
    return join(this.runs, name, file);
  }
  session(name: string, file?: string): string {
    return join(this.sessions, name, file);
  }
  /** The count of mounts of a container's RW layer. */
  mountCount(mountId: string): string {
    return join(this.mountCounts, `${mountId}.json`);
  }
  /** The symlink `<name> -> <container id>`. */
  name(name: string): string {
    return join(this.names, name);
  }
  /** An empty directory, which notes that the layer may have lost its last reference and must be checked. */
  unusedLayer(chainId: ChainID): string {
    return join(this.unused, hexOf(chainId));
  }
  /** The record of a snapshot. It exists only while the snapshot does. */
  snapshot(id: string): string {
    return join(this.snapshots, `${id}.json`);
  }
  /** The record of a snapshot that is being made. */
  stagedSnapshot(id: string): string {
    return join(this.snapshots, `.tmp-${id}`);
  }
  /** The name of the snapshot that merges a snapshot and all uppers below it; see snapshot/flatten.ts. */
  flatSnapshot(id: string): string {
    return join(this.snapshots, `${id}.flat`);
  }
  /** The bytes of a sealed upper, once they were measured. */
  snapshotSize(id: string): string {
    return join(this.snapshots, `${id}.size`);
  }
  /** The overlay2 directories that were put directly above a sealed upper. */
  childrenOf(id: string, child?: string): string {
    return join(this.children, id, child);
  }
  /** Notes that a snapshot expires at a time in seconds since 1970. */
  expiry(seconds: number, id: string): string {
    return join(this.expiring, `${seconds}-${id}`);
  }
  /** The directory of the documents that an image was pulled by, or one of these documents. */
  originalManifest(image: string, name?: string): string {
    return join(this.originalManifests, image, name);
  }
  /** A compressed layer as the registry sent it; `name`: hex of its digest. */
  archivedBlob(name: string): string {
    return join(this.archivedBlobs, name);
  }
  /** The first bytes of a blob that is being pulled; `name`: hex of its digest. */
  partial(name: string): string {
    return join(this.partials, name);
  }
  /** The files of one build; `name` is `.tmp-<random>`. */
  context(name: string): string {
    return join(this.contexts, name);
  }
  /**
   * The file with the DiffID of a layer, named by the digest of the blob that was pulled or pushed for it.
   */
  diffIdByDigest(blob: Digest): string {
    return join(this.diffIdsByDigest, hexOf(blob));
  }
  /** The blobs of a layer, and the repositories that have them. */
  sourcesOf(diffId: DiffID): string {
    return join(this.sourcesByDiffId, hexOf(diffId));
  }
  /** A part of the journal of events. */
  eventSegment(number: number): string {
    return join(this.events, String(number));
  }
  flat(name: string): string {
    return join(this.flats, name);
  }

  /** Returns steps that make the missing directories, with dockerd's modes. Existing ones stay untouched. */
  skeleton(): (BatchStep & { readonly op: 'mkdir' })[] {
    return SKELETON.map(([path, mode]) => ({ op: 'mkdir', path, mode, exist: true }));
  }
}

const SKELETON: readonly (readonly [path: string, mode: number])[] = [
  ['image', 0o700],
  ['image/overlay2', 0o700],
  ['image/overlay2/imagedb', 0o700],
  ['image/overlay2/imagedb/content', 0o700],
  ['image/overlay2/imagedb/content/sha256', 0o700],
  ['image/overlay2/imagedb/metadata', 0o700],
  ['image/overlay2/imagedb/metadata/sha256', 0o700],
  ['image/overlay2/layerdb', 0o700],
  ['image/overlay2/layerdb/sha256', 0o755],
  ['image/overlay2/layerdb/tmp', 0o755],
  ['image/overlay2/layerdb/mounts', 0o755],
  ['overlay2', 0o710],
  ['overlay2/l', 0o700],
  ['containers', 0o710],
  ['volumes', 0o701],
  ['layerstack', 0o700],
  ['layerstack/sessions', 0o700],
  ['layerstack/locks', 0o700],
  ['layerstack/mounts', 0o700],
  ['layerstack/flat', 0o700],
  ['layerstack/names', 0o700],
  ['layerstack/unused', 0o700],
  ['layerstack/events', 0o700],
  ['layerstack/snapshots', 0o700],
];
