/**
 * The modules of `store.archives`. They are imported on first use, so that other commands start without them.
 */
export { ArchiveMounts, openBelow } from '../../packed/archives.ts';
export { openArchive } from '../../packed/open-archive.ts';
export { sweepPlaces } from '../../packed/place.ts';
