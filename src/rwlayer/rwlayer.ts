/**
 * RW layers: what can be written above the layers of an image.
 *
 * ## Vocabulary
 *
 * - An *RW layer* is a directory of overlay2 that takes what is written. Its `diff` is the *upper* of an
 *   overlay.
 * - Its *lowers* are what it stands on, topmost first: directories relative to `overlay2`, usually the short
 *   names `l/<link>` of layers. Nothing is ever written to a lower.
 * - Its *init layer* is a second directory, `<mount-id>-init`, directly below it. It holds the few files that
 *   a runtime binds over (`/etc/hosts`, `/dev/console`), so that they never count as changes. dockerd makes
 *   one too.
 * - Its *owner* is what the RW layer exists for: a container, a build step, a snapshot. The *key* is the
 *   owner's id.
 * - Its *entry* is `layerdb/mounts/<key>`. The `parent` in it pins the image's layers: no collector takes
 *   them while it is there.
 * - Its *mount* is the overlay at `overlay2/<mount-id>/merged`. It belongs to no process and survives them
 *   all.
 * - A *use* is one reason for the mount to exist. Uses are counted across processes; the last one unmounts.
 *
 * ## Lifecycle
 *
 * 1. {@link RwLayerStore.base} pins the layers below, and returns the lowers.
 * 2. {@link newRwLayer} draws the names. Nothing is on disk yet.
 * 3. The owner makes it: one batch with {@link RwLayerStore.createSteps} and the owner's own steps, while the
 *    session holds {@link RwLayerStore.createMarkers}. The owner's last step makes it exist. After a failure
 *    {@link RwLayerStore.discard} takes back what was made.
 * 4. It is mounted and unmounted, any number of times and from any process. Its changes can be listed,
 *    measured and made a layer at any time, mounted or not.
 * 5. The owner ends it, as {@link RwLayerStore.removal} says. The first step is the owner's: without an owner
 *    there is no RW layer. The directories are renamed in the same batch, and deleted later.
 *
 * Mounting, unmounting and removing hold the lock `containers/<key>`, so one process at a time does one of
 * them. A process may die between any two system calls. The markers of its session name what it had begun,
 * and the next writer completes that or takes it back.
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
 * A snapshot is an RW layer that is no longer written to. A fork of it stands on its upper: its short name
 * goes on top of the lowers, and the same layers are pinned.
 *
 * ```ts
 * await using base = await rwLayers.base(sealed.parent, signal);
 * const lowers = [`l/${sealed.link}`, `l/${sealed.initLink}`, ...base.lowers];
 * const fork = newRwLayer({ key: id, owner: `container ${name}` }, { parent: sealed.parent, lowers });
 * ```
 *
 * Containers are the only owners so far.
 */
import type { ChainID } from '../core/digest.ts';
import { newLinkId, newOverlayId } from '../layer/overlay.ts';

/** The owner of an RW layer. */
export interface Owner {
  /** 64 hex digits: the owner's id, and the name of the entry. */
  readonly key: string;
  /** The owner as messages call it, e.g. `container web`. */
  readonly owner: string;
}

/** One RW layer. */
export interface RwLayer extends Owner {
  /** Its directory in `overlay2`. */
  readonly mountId: string;
  /** The directory of its init layer; undefined where it has none. */
  readonly initId: string | undefined;
  /** The topmost layer of the image below; undefined for an image without layers. */
  readonly parent: ChainID | undefined;
}

/** What an RW layer stands on. */
export interface Base extends Pick<RwLayer, 'parent'> {
  /** Topmost first, relative to `overlay2`; empty for an image without layers. */
  readonly lowers: readonly string[];
}

/** An RW layer that is about to be made. */
export interface NewRwLayer extends RwLayer, Base {
  readonly initId: string;
  /** The short name of its directory. */
  readonly link: string;
  readonly initLink: string;
}

/** The owners of a store's RW layers, as far as this folder must ask them. */
export interface RwLayerOwners {
  /** The RW layer of the owner with this key; undefined where the owner is gone, or not there yet. */
  find(key: string): RwLayer | undefined;
}

/** Draws the names of an RW layer. Nothing is made. */
export function newRwLayer({ key, owner }: Owner, { parent, lowers }: Base): NewRwLayer {
  const mountId = newOverlayId();
  const initId = `${mountId}-init`;
  return { key, owner, mountId, initId, link: newLinkId(), initLink: newLinkId(), parent, lowers };
}
