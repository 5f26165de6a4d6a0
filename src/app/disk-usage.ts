/** Measures the disk usage of the images, containers and snapshots of a store. */
import type { ContainerUsage } from '../container/store.ts';
import type { ImageUsage } from '../image/store.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { StoreParts } from './store-parts.ts';

/** The disk usage of a store, in the terms of docker's API; sizes in bytes. */
export interface DiskUsage extends ImageUsage {
  readonly Containers: readonly ContainerUsage[];
  readonly Snapshots: readonly SnapshotUsage[];
}

/** The disk usage of one snapshot. */
export interface SnapshotUsage {
  readonly snapshot: Snapshot;
  /** Bytes that no other snapshot has. */
  readonly size: number;
}

/** Measures the containers and snapshots; the sizes of layers come from their metadata. */
export async function diskUsage(parts: StoreParts): Promise<DiskUsage> {
  const { images, containers } = parts;
  const Containers = await containers.usage();
  const users = Containers.map(({ container, active }) => ({
    containerId: container.id,
    imageId: container.imageId,
    running: active,
  }));
  const Snapshots: SnapshotUsage[] = [];
  const all = await parts.listSnapshots();
  const sizes = all.length === 0 ? undefined : await (await parts.snapshots()).sizes(all);
  for (const snapshot of all) {
    Snapshots.push({ snapshot, size: sizes?.get(snapshot.id)?.own ?? 0 });
    users.push({ containerId: snapshot.id, imageId: snapshot.imageId, running: false });
  }
  const parents = [
    ...Containers.flatMap(({ container }) => container.parent ?? []),
    ...Snapshots.flatMap(({ snapshot }) => snapshot.layer ?? []),
  ];
  return { ...(await images.usage(users, parents)), Containers, Snapshots };
}
