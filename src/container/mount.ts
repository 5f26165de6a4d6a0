/** A mount of a container's root file system: a use of its RW layer's mount, with the container's id. */
import type { RwLayerMount } from '../rwlayer/store.ts';

export type { MountOptions, UnmountOptions } from '../rwlayer/store.ts';

/** One use of a mounted root file system. It outlives the process, unless it is unmounted. */
export interface Mount extends RwLayerMount {
  readonly containerId: string;
}
