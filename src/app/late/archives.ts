/**
 * What `store.archives` imports when it is first needed: commands that mount no archives start without it.
 */
export { ArchiveMounts, openBelow } from '../../packed/archives.ts';
export { openArchive } from '../../packed/open-archive.ts';
export { sweepPlaces } from '../../packed/place.ts';
