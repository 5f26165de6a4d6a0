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
 * - The *method* of a snapshot is how it was taken: its upper was sealed, or copied.
 * - Its *consistency* says what its files are: those of one moment at which nothing wrote (quiescent), of one
 *   moment at which all writers were frozen, or what a crash would leave.
 * - The *generation* of a mount is how often a snapshot or rollback has replaced it at the same path.
 *
 * ## On disk
 *
 * A snapshot has three parts: the directory `overlay2/<id>`, whose `diff` is the sealed upper; the entry
 * `layerdb/mounts/<id>`, which keeps the layers of the image; and the record `layerstack/snapshots/<id>.json`
 * (record.ts), without which the snapshot does not exist. dockerd keeps what the entry names, and mounts the
 * containers above, since it reads the same `lower` files.
 *
 * ## A kill at any moment
 *
 * A seal (seal.ts) prepares an empty directory, puts its short name on top of the container's `lower`, and
 * exchanges the two `diff` directories. The container shows the same before, between and after these steps.
 * The last step gives the record its name. The marker `snapshot.<id>` tells the next writer to publish a seal
 * that was done, or to undo one that was not (resume.ts). Where the container is mounted, a seal
 * (seal-mounted.ts) and a rollback (rollback.ts) exchange two directories with a mount in each. A copy
 * (copy.ts) writes its record when it is whole. A removal (remove.ts) begins with the record.
 *
 * ## Locks
 *
 * All of them are of the kind `containers`. A container's is held for everything that changes its stack. A
 * fork shares the lock of its snapshot, so that the snapshot stays. A rollback takes both locks as one. A
 * removal has the lock of the snapshot alone, and counts the children under it.
 */
import type { ChainID, ImageID } from '../core/digest.ts';
import type { Container } from '../container/record.ts';

/** How the upper became that of a snapshot. */
export type SnapshotMethod = 'sealed' | 'copied';

/**
 * What the files of a snapshot are. `quiescent`: the container's files at one moment, at which nothing wrote.
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
  /** RFC3339: when it is removed, unless something needs it then. Undefined: never. */
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

/** Returns which of both it is. */
export function isSnapshot(source: Snapshot | Container): source is Snapshot {
  return 'containerId' in source;
}
