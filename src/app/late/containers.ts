/**
 * The modules that `store.containers` imports when they are first needed. Making, mounting and removing a
 * container start without them.
 */
export { containerBundle, writeBundle } from '../../container/bundle.ts';
export { listChanges } from '../../rwlayer/changes.ts';
export { commit } from '../../container/commit.ts';
export { containerArchive } from '../../container/container-rootfs.ts';
export { copyIn, copyOut, packOut } from '../../container/copy.ts';
export { inspectContainer } from '../../container/inspect.ts';
export { runContainer } from '../../container/run/run.ts';
export { sweepRuns } from '../../container/run/sweep.ts';
export { exportRootfs } from '../../transfer/archive/export.ts';
export { writeImageOfContainer } from '../../transfer/archive/disk-image.ts';
