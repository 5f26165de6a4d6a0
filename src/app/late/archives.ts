/**
 * The modules of `store.archives`. They are imported on first use, so that other commands start without them.
 */
export { copyIn, copyOut, packOut } from '../../container/copy.ts';
export { commitArchive } from '../../packed/commit.ts';
export { ArchiveMounts } from '../../packed/archive-mounts.ts';
export { openArchive } from '../../packed/open-archive.ts';
export { openBelow } from '../../packed/open-below.ts';
export { sweepPlaces } from '../../packed/place.ts';
export { archiveBelow, heldArchive } from '../../packed/operation.ts';
export { ArchiveRootfs } from '../../packed/rootfs.ts';
export { runArchive } from '../../packed/run.ts';
