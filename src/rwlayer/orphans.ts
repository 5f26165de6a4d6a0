/**
 * The directories of overlay2 that no layer, container, snapshot, writer or BuildKit snapshot explains. A
 * directory is removable if it cannot hold anybody's work: it was never the upper of a mount, and nothing
 * needs it. A mount leaves its traces in the directory itself: overlayfs makes `work/work` in the work
 * directory of an upper, and never in that of a lower. So this does not depend on the program that made the
 * directory; dockerd 20.10 to 26 make the same entries.
 */
import { throwIfAborted } from '../core/abort.ts';
import { isHex64 } from '../core/digest.ts';
import { Pace } from '../core/pace.ts';
import { REPAIR } from '../layer/check-overlay.ts';
import { unclaimedDirectories } from '../layer/unclaimed.ts';
import { unlessPlanted } from '../system/check-entries.ts';
import type { Layout } from '../system/layout.ts';
import { mountTables } from '../system/mount-tables.ts';
import { call, native } from '../system/native.ts';
import { listEntries, removeOverlay } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { hasDirectory, readLink, readText, statEntry } from '../system/store-files.ts';
import { rwLayerOverlays } from './check.ts';

/** The kind of a directory, judged by its entries. */
export type OrphanKind = 'layer' | 'init' | 'empty' | 'writable' | 'sealed' | 'buildkit' | 'unknown';

/**
 * `removable`: it cannot hold anybody's work. `forced`: it may hold work, so only `force` removes it.
 * `needed`: something uses it, so it stays.
 */
export type OrphanState = 'removable' | 'forced' | 'needed';

export interface Orphan {
  /** Its name in `overlay2`. */
  readonly id: string;
  /** Its path, relative to the root. */
  readonly path: string;
  readonly kind: OrphanKind;
  readonly state: OrphanState;
  /** The reason for its state. */
  readonly reason: string;
  /** Bytes of its content. */
  readonly size: number;
  /** When it was made, in milliseconds since 1970. */
  readonly created: number;
  /** When it was last mounted as an upper, in milliseconds since 1970; null where it never was. */
  readonly lastMounted: number | null;
  /** Whether this call has removed it. */
  readonly removed: boolean;
}

export interface OrphanOptions {
  /** Removes directories that may hold somebody's work, too. Default false. */
  readonly force?: boolean | undefined;
  /** Only lists them. Default false. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Facts about the store that the directories do not show. */
export interface OrphanContext {
  /** Whether an image or an entry of layerdb lacks its content, which an orphan may be. */
  readonly lacksContent: () => Promise<boolean>;
}

/** The entries that dockerd and layerstack make in a directory. */
const OWN_ENTRIES = new Set(['diff', 'link', 'lower', 'work', 'merged', 'committed']);
/** The form of BuildKit's names. */
const BUILDKIT_NAME = /^[0-9a-z]{25}$/;
const INIT = '-init';

/** The kind of a directory, its state, and the reason. */
type Verdict = Pick<Orphan, 'kind' | 'state' | 'reason'>;

const removable = (kind: OrphanKind, reason: string): Verdict => ({ kind, state: 'removable', reason });
const forced = (kind: OrphanKind, reason: string): Verdict => ({ kind, state: 'forced', reason });

/**
 * Lists orphans, the largest first, and removes those that may be removed.
 * @throws {@link LayerstackError} ERR_STORE_READ_ONLY unless it is a dry run; ERR_ABORTED.
 */
export async function pruneOrphans(
  root: Root,
  context: OrphanContext,
  { force = false, dryRun = false, signal }: OrphanOptions,
): Promise<Orphan[]> {
  if (!dryRun) root.session();
  const orphans = await findOrphans(root, context, { force, signal });
  const chosen = orphans.filter(({ state }) => state === 'removable' || (force && state === 'forced'));
  if (dryRun || chosen.length === 0) return orphans;
  const removed = await removeOrphans(
    root,
    chosen.map(({ id }) => id),
    signal,
  );
  return orphans.map((orphan) => ({ ...orphan, removed: removed.has(orphan.id) }));
}

async function findOrphans(
  root: Root,
  { lacksContent }: OrphanContext,
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal | undefined },
): Promise<Orphan[]> {
  const { layout } = root;
  const ids = await unclaimedDirectories(layout, () => rwLayerOverlays(root));
  if (ids.length === 0) return [];
  const mightBeLost = await lacksContent();
  const verdicts = new Map<string, Verdict>();
  const pace = new Pace(signal);
  for (const id of ids) {
    if (pace.due) await pace.rest();
    const verdict = await unlessPlanted(verdictOf(layout, id));
    // checkEntries reports a planted entry.
    if (verdict === undefined) continue;
    const isLost = mightBeLost && verdict.kind === 'layer' && verdict.state === 'removable';
    verdicts.set(id, isLost ? forced('layer', 'an image lacks a layer, whose content it may be') : verdict);
  }
  await keepMounted(layout, verdicts);
  await keepLowers(layout, verdicts, force);
  const orphans: Orphan[] = [];
  for (const [id, verdict] of verdicts) {
    throwIfAborted(signal);
    orphans.push({ ...verdict, ...(await factsOf(layout, id)), removed: false });
  }
  return orphans.sort((a, b) => b.size - a.size || (a.id < b.id ? -1 : 1));
}

/** Judges a directory by its own entries. */
async function verdictOf(layout: Layout, id: string): Promise<Verdict> {
  const entries = new Set(await listEntries(layout, layout.overlay(id)));
  if (!isHex64(id.endsWith(INIT) ? id.slice(0, -INIT.length) : id))
    return BUILDKIT_NAME.test(id)
      ? forced('buildkit', "its name is in BuildKit's form, but BuildKit's database does not name it")
      : forced('unknown', 'its name does not have the form of any known program');
  const strange = [...entries].find((name) => !OWN_ENTRIES.has(name));
  if (strange !== undefined) return forced('unknown', `it has the unknown entry ${JSON.stringify(strange)}`);
  const isEmpty = (await listEntries(layout, layout.overlay(id, 'diff'))).length === 0;
  if (isEmpty) return removable('empty', 'it has no content');
  if (!entries.has('link')) return forced('unknown', 'it has content, but no short name');
  if (id.endsWith(INIT)) return removable('init', 'an init layer, which has only generated files');
  if (hasDirectory(layout.at(layout.overlay(`${id}${INIT}`))))
    return forced('writable', 'the writable layer of a container that has lost its entry');
  if (mountedAt(layout, id) !== undefined)
    return forced('writable', 'it was mounted as a writable layer: it may be of a container, build or pull');
  if (entries.has('lower') && !entries.has('work'))
    return forced('sealed', 'it may be the files of a snapshot that has lost its record');
  return removable('layer', 'a read-only layer that no image, container or entry has');
}

/** Returns when overlayfs last made `work/work`, which it does at each mount with an upper. */
function mountedAt(layout: Layout, id: string): number | undefined {
  return statEntry(layout.at(`${layout.overlay(id, 'work')}/work`))?.mtimeMs;
}

/** Marks the directories that are part of a mount in any mount namespace that this process can see. */
async function keepMounted(layout: Layout, verdicts: Map<string, Verdict>): Promise<void> {
  const tables = await mountTables();
  for (const [id, verdict] of verdicts) {
    const link = linkOf(layout, id);
    const names = [`/${id}/`, ...(link === undefined ? [] : [`l/${link}`])];
    if (tables.some((table) => names.some((name) => table.includes(name))))
      verdicts.set(id, { ...verdict, state: 'needed', reason: 'it is mounted' });
  }
}

/** Marks the directories that the `lower` of a staying directory names. */
async function keepLowers(layout: Layout, verdicts: Map<string, Verdict>, force: boolean): Promise<void> {
  const byLink = new Map([...verdicts.keys()].map((id) => [linkOf(layout, id), id]));
  const goes = (id: string): boolean => {
    const state = verdicts.get(id)?.state;
    return state === 'removable' || (force && state === 'forced');
  };
  const staying = (await listEntries(layout, layout.overlay2)).filter((id) => id !== 'l' && !goes(id));
  for (let id = staying.pop(); id !== undefined; id = staying.pop())
    for (const link of await lowersOf(layout, id)) {
      const target = readLink(layout.at(layout.link(link)))?.split('/')[1];
      const below = target ?? byLink.get(link);
      const verdict = below === undefined ? undefined : verdicts.get(below);
      if (below === undefined || verdict === undefined || verdict.state === 'needed') continue;
      const isNew = goes(below);
      verdicts.set(below, { ...verdict, state: 'needed', reason: `${layout.overlay(id)} is on top of it` });
      if (isNew) staying.push(below);
    }
}

/** Returns the short names in the `lower` of a directory. */
async function lowersOf(layout: Layout, id: string): Promise<string[]> {
  const read = Promise.resolve().then(() => readText(layout.at(layout.overlay(id, 'lower'))));
  const lowers = ((await unlessPlanted(read)) ?? '').trim().split(':');
  return lowers.filter((lower) => /^l\/[A-Z2-7]{26}$/.test(lower)).map((lower) => lower.slice(2));
}

function linkOf(layout: Layout, id: string): string | undefined {
  const link = readText(layout.at(layout.overlay(id, 'link')))?.trim();
  return link !== undefined && /^[A-Z2-7]{26}$/.test(link) ? link : undefined;
}

async function factsOf(
  layout: Layout,
  id: string,
): Promise<Pick<Orphan, 'id' | 'path' | 'size' | 'created' | 'lastMounted'>> {
  const path = layout.overlay(id);
  const diff = layout.at(layout.overlay(id, 'diff'));
  const made = statEntry(layout.at(layout.overlay(id, 'link'))) ?? statEntry(layout.at(path));
  return {
    id,
    path,
    size: hasDirectory(diff) ? await call(native.contentSize(diff)) : 0,
    created: made?.mtimeMs ?? 0,
    lastMounted: mountedAt(layout, id) ?? null,
  };
}

/**
 * Removes the directories that nothing has claimed since they were listed, and returns their names. A rename
 * takes each out of its place. If this process dies after it, the next writer deletes the files. A repair
 * that gives a directory to a layer holds the same lock.
 */
async function removeOrphans(
  root: Root,
  ids: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  const { layout, locks } = root;
  const session = root.session();
  const gone = (id: string): string => `${id}-removing`;
  const markersOf = (id: string): Marker[] => [`overlay2.${id}`, `overlay2.${gone(id)}`];
  const going: string[] = [];
  {
    await using _lock = await locks.acquire('layers', REPAIR, { signal });
    const unclaimed = new Set(await unclaimedDirectories(layout, () => rwLayerOverlays(root)));
    going.push(...ids.filter((id) => unclaimed.has(id)));
    await session.mark(
      going.flatMap(markersOf),
      going.map((id) => ({ op: 'rename', from: layout.overlay(id), to: layout.overlay(gone(id)) })),
    );
  }
  for (const id of going)
    await root.aftermath.run(
      `the files of ${layout.overlay(id)} stay until the next writer removes them`,
      async () => {
        await removeOverlay(layout, gone(id));
        await session.unmark(markersOf(id));
      },
    );
  return new Set(going);
}
