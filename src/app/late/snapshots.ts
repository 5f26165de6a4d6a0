/** The module of `store.snapshots`, imported on first use, so that other commands start without it. */
export { SnapshotStore } from '../../snapshot/store.ts';
export { commitSnapshot } from '../../snapshot/commit.ts';
export { compare } from '../../snapshot/diff.ts';
export { removeExpired } from '../../snapshot/expire.ts';
