/**
 * Snapshots: the root file systems of containers as they were at one moment.
 *
 * ## Vocabulary
 *
 * - To *seal* the upper of a container is to make it a lower, which takes no more writes. The container gets
 *   a fresh upper on top of it. The files that it shows do not change.
 * - A *snapshot* is a sealed upper with a record. Its id is the name of its directory in `overlay2`.
 * - Its *parent* is the snapshot directly below it; the first snapshot of a container has none.
 * - A *fork* is a new container whose fresh upper is on top of a snapshot.
 * - A *child* of a snapshot is a container or snapshot with the snapshot among its lowers.
 * - To *roll back* a container is to put a fresh upper on top of a snapshot in place of what it has.
 * - The *method* of a snapshot says whether its upper was sealed or copied.
 * - Its *consistency* says how its files fit together. They are those of one moment without writers
 *   (`quiescent`), or with all writers frozen (`frozen`), or as after a crash (`crash`).
 * - The *generation* of a mount is how often a snapshot or rollback has replaced it at the same path.
 *
 * ## On disk
 *
 * A snapshot has three parts: the directory `overlay2/<id>`, whose `diff` is the sealed upper; the entry
 * `layerdb/mounts/<id>`, which keeps the layers of the image; and the record `layerstack/snapshots/<id>.json`
 * (record.ts), without which the snapshot does not exist. dockerd keeps the layers that the entry names. It
 * can mount the containers above, since it reads the same `lower` files.
 *
 * ## A kill at any moment
 *
 * A seal (seal.ts) prepares an empty directory, puts its short name on top of the container's `lower`, and
 * exchanges the two `diff` directories. The container shows the same files before and after each step.
 * The last step gives the record its name. The marker `snapshot.<id>` tells the next writer to complete
 * or undo the seal (resume.ts). Where the container is mounted, a seal
 * (seal-mounted.ts) and a rollback (rollback.ts) exchange two directories with a mount in each. A copy
 * (copy.ts) writes its record when it is whole. A removal (remove.ts) begins with the record.
 *
 * ## Locks
 *
 * All locks are of the kind `containers`. A change of a container's stack holds the container's lock. A fork
 * shares the lock of its snapshot, so that the snapshot stays. A rollback takes both locks at once. A removal
 * holds the snapshot's lock exclusively while it counts the children.
 */
import type { ChainID, ImageID } from '../core/digest.ts';
import type { Container } from '../container/record.ts';

/** How a snapshot got its upper. */
export type SnapshotMethod = 'sealed' | 'copied';

/**
 * How the files of a snapshot fit together. `quiescent`: those of one moment at which nothing wrote.
 * `frozen`: the same, while all its processes were frozen. `crash`: each file as it was at a moment of the
 * copy, with every write that returned before the call.
 */
export type SnapshotConsistency = 'quiescent' | 'frozen' | 'crash';

/** The root file system of a container at one moment. It has files only: no processes, memory or sockets. */
export interface Snapshot {
  /** 64 hex digits. */
  readonly id: string;
  /** Unique among the snapshots of the store; undefined when it was given none. */
  readonly name: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** RFC3339. */
  readonly created: string;
  /** RFC3339: the time after which it is removed, unless something needs it. Undefined: never. */
  readonly expires: string | undefined;
  /** The id of the snapshot directly below; undefined for the first one of a container. */
  readonly parent: string | undefined;
  /** The number of sealed uppers, with its own. */
  readonly depth: number;
  readonly containerId: string;
  /** The name that the container had. */
  readonly containerName: string;
  /** Undefined for a container that dockerd made without an image. */
  readonly imageId: ImageID | undefined;
  readonly imageName: string;
  /** The top layer of the image; undefined for an image without layers. */
  readonly layer: ChainID | undefined;
  readonly method: SnapshotMethod;
  readonly consistency: SnapshotConsistency;
  /** Bytes of files that were copied to take it; 0 for a sealed one. */
  readonly bytes: number;
  /** The generation of the container's mount since then; 0 for a container that was not mounted. */
  readonly generation: number;
}

/** How much disk a snapshot uses, in bytes of files and links. */
export interface SnapshotSize {
  /** Bytes written between its parent and itself. No other snapshot has them. */
  readonly own: number;
  /** Bytes that its parents have. */
  readonly shared: number;
}

/** Returns whether the source is a snapshot. */
export function isSnapshot(source: Snapshot | Container): source is Snapshot {
  return 'containerId' in source;
}
