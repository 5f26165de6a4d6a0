/**
 * Checks for leftovers of dead writers, by the markers of their sessions. The next writer completes or
 * removes all of them when it opens the store, so they are visible only before that.
 */
import type { Problem } from '../core/store-finding.ts';
import type { Layout } from './layout.ts';
import { deadProbes, deadSessions, reconcile, sweepProbes } from './reconcile.ts';
import { readLink } from './store-files.ts';
import { listEntries } from './removal.ts';
import type { Root } from './root.ts';

const ADVICE = 'the next writer that opens the store completes or removes it';

export async function* checkSessions(root: Root): AsyncGenerator<Problem> {
  const { layout, log, locks } = root;
  const finding = { code: 'unfinished', severity: 'warning', advice: ADVICE } as const;
  // All sessions are listed before one is reported: a repair takes locks that are held during the listing.
  const sessions: Problem[] = [];
  for await (const name of deadSessions(layout)) {
    const repair = async (): Promise<void> => {
      root.session();
      await reconcile(layout, log, locks);
    };
    const markers = (await listEntries(layout, layout.session(name))).filter((file) => file !== 'lock');
    for (const marker of markers) {
      const { path, what } = describe(layout, name, marker);
      sessions.push({ ...finding, path, message: `${what}, left by a writer that died`, repair });
    }
    if (markers.length === 0)
      sessions.push({
        ...{ ...finding, severity: 'note', path: layout.session(name), repair },
        message: 'the empty session of a writer that died',
      });
  }
  yield* sessions;
  const probes: string[] = [];
  for await (const path of deadProbes(layout)) probes.push(path);
  for (const path of probes)
    yield {
      ...{ ...finding, path },
      message: 'a scratch directory of a process that died',
      repair: async () => {
        root.session();
        await sweepProbes(layout, log);
      },
    };
}

/** Describes the object of a marker. */
function describe(layout: Layout, session: string, marker: string): { path: string; what: string } {
  const dot = marker.indexOf('.');
  const object = marker.slice(dot + 1);
  switch (marker.slice(0, dot)) {
    case 'overlay2':
      return { path: layout.overlay(object), what: 'a directory that was being made or removed' };
    case 'write-set':
      return { path: layout.writeSet(`write-set-${object}`), what: 'a layer that was being made' };
    case 'container':
      return { path: layout.container(object), what: 'a container that was being made or removed' };
    case 'flat':
      return { path: layout.flat(object), what: 'a merged tree that was being made or removed' };
    case 'removing':
      return { path: `${layout.layers}/${object}`, what: 'a layer that was being removed' };
    case 'held':
      return {
        path: layout.container(object.split('.', 1)[0] ?? ''),
        what: 'a use of the mount of a container',
      };
    case 'keeping':
      return { path: layout.archivedBlobs, what: 'compressed layers that were being kept' };
    case 'naming':
      return { path: layout.container(object), what: 'a change of the name of a container' };
    case 'snapshot':
      return { path: layout.snapshot(object), what: 'a snapshot that was being made or removed' };
    case 'temporary':
      return {
        path: readLink(layout.at(layout.session(session, marker))) ?? layout.session(session, marker),
        what: 'temporary files of this name',
      };
    case 'references':
      return { path: layout.repositories, what: 'a change of images or names' };
    default:
      return { path: layout.session(session, marker), what: 'something unknown' };
  }
}
