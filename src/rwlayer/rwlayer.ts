/**
 * RW layers: the writable layers above the layers of an image.
 *
 * ## Vocabulary
 *
 * - An *RW layer* is a directory of overlay2 that receives all writes. Its `diff` is the *upper* of an
 *   overlay.
 * - Its *lowers* are the directories below it, topmost first, relative to `overlay2`. Usually they are the
 *   short names `l/<link>` of layers. Lowers are never written to.
 * - Its *init layer* is a second directory, `<mount-id>-init`, directly below it. It holds the few files that
 *   a runtime binds over (`/etc/hosts`, `/dev/console`), so that they never count as changes. dockerd makes
 *   one too.
 * - Its *owner* is the object that needs the RW layer: a container, a build step, a snapshot. The *key* is
 *   the owner's id.
 * - Its *entry* is `layerdb/mounts/<key>`. The entry's `parent` keeps the image's layers from collection.
 * - Its *mount* is the overlay at `overlay2/<mount-id>/merged`. It belongs to no process, and survives
 *   processes.
 * - A *use* is one reason for the mount to exist. Uses are counted across processes; the last one unmounts.
 *
 * ## Lifecycle
 *
 * 1. {@link RwLayerStore.base} pins the layers below, and returns the lowers.
 * 2. {@link newRwLayer} draws the names. Nothing is on disk yet.
 * 3. The owner makes it: one batch with {@link RwLayerStore.createSteps} and the owner's own steps, while the
 *    session holds {@link RwLayerStore.createMarkers}. The owner's last step makes it exist. After a failure,
 *    {@link RwLayerStore.discard} removes the parts that were made.
 * 4. It is mounted and unmounted, any number of times and from any process. Its changes can be listed,
 *    measured and turned into a layer at any time, mounted or not.
 * 5. The owner ends it, as {@link RwLayerStore.removal} says. The first step is the owner's: without an owner
 *    an RW layer does not exist. The directories are renamed in the same batch, and deleted later.
 *
 * Mounting, unmounting and removing hold the lock `containers/<key>`, so one process at a time does one of
 * them. A process may die between any two system calls. The markers of its session name the change that it
 * had begun, and the next writer completes or undoes it.
 *
 * ## A container
 *
 * ```ts
 * await using base = await rwLayers.base(image.top, signal);
 * const layer = newRwLayer({ key: id, owner: `container ${name}` }, base);
 * const { init, own } = rwLayers.createSteps(layer);
 * await session.during(
 *   [...rwLayers.createMarkers(layer), `container.${id}`],
 *   [{ op: 'together', first: init, second: [...own, ...documents] }, publish],
 * );
 * await using mount = await rwLayers.mount(layer);
 * ```
 *
 * ## A build step
 *
 * A step of a Dockerfile owns an RW layer while its command runs. Its image is made from the upper alone, so
 * it needs no container:
 *
 * ```ts
 * const layer = newRwLayer({ key: step.id, owner: `step ${step.number}` }, base);
 * ... // made as above; `step.publish` makes it exist
 * await using mount = await rwLayers.mountForOperation(layer);
 * await run(step.command, mount.path);
 * const image = await commitLayer(stores, { layer, imageId, config }, undefined);
 * ... // removed as a container is
 * ```
 *
 * ## A snapshot
 *
 * A snapshot is an RW layer that takes no more writes, and has no init layer of its own. A fork of it has the
 * snapshot's upper, and those below it, between itself and its init layer (sealed.ts):
 *
 * ```ts
 * await using base = await rwLayers.base(snapshot.parent, signal);
 * const fork = newRwLayer({ key: id, owner: `container ${name}` }, base, sealed);
 * ```
 *
 * Containers, snapshots and build steps (build/step-layer.ts) are the owners so far.
 */
import type { ChainID } from '../core/digest.ts';
import { newLinkId, newOverlayId } from '../layer/overlay.ts';

/** The owner of an RW layer. */
export interface Owner {
  /** 64 hex digits: the owner's id, and the name of the entry. */
  readonly key: string;
  /** The owner's name in messages, e.g. `container web`. */
  readonly owner: string;
}

/** One RW layer. */
export interface RwLayer extends Owner {
  /** Its directory in `overlay2`. */
  readonly mountId: string;
  /** The directory of its init layer; undefined without one. */
  readonly initId: string | undefined;
  /** The topmost layer of the image below; undefined for an image without layers. */
  readonly parent: ChainID | undefined;
}

/** The layers below an RW layer. */
export interface Base extends Pick<RwLayer, 'parent'> {
  /** Topmost first, relative to `overlay2`; empty for an image without layers. */
  readonly lowers: readonly string[];
  /** The directories with their contents, if they are not at the lowers: those of packed layers. */
  readonly directories?: readonly string[] | undefined;
}

/** An RW layer that is about to be made. */
export interface NewRwLayer extends RwLayer, Base {
  /** The short names of the sealed uppers between it and its init layer, topmost first. */
  readonly sealed: readonly string[];
  /** The short name of its directory. */
  readonly link: string;
  readonly initLink: string;
}

/** Looks up the owners of a store's RW layers. */
export interface RwLayerOwners {
  /** Returns the RW layer of the owner with this key; undefined when the owner does not exist. */
  find(key: string): RwLayer | undefined;
}

/** Draws the names of an RW layer. Makes nothing on disk. */
export function newRwLayer(
  { key, owner }: Owner,
  { parent, lowers, directories }: Base,
  sealed: readonly string[] = [],
): NewRwLayer {
  const mountId = newOverlayId();
  const initId = `${mountId}-init`;
  return {
    ...{ key, owner, mountId, initId, link: newLinkId(), initLink: newLinkId() },
    ...{ parent, lowers, directories, sealed },
  };
}

/** Returns the RW layer without its init layer: it shows the image alone. It needs a layer below. */
export function withoutInit(layer: NewRwLayer): NewRwLayer {
  return { ...layer, initId: undefined };
}
