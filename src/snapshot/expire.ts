/**
 * Snapshots that expire. `layerstack/expiring/<seconds>-<id>` notes each of them before it is taken. So a
 * writer finds expired snapshots without reading records. The next writer and `prune` remove expired
 * snapshots. While something needs one, it stays, and later writers try again.
 */
import { isHex64 } from '../core/digest.ts';
import { isError, LayerstackError } from '../core/errors.ts';
import { parseTime } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import { call, native } from '../system/native.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { readRecord } from './record.ts';
import type { Snapshot } from './snapshot.ts';

const NOTE = /^(\d{1,12})-([0-9a-f]{64})$/;

/**
 * Parses the time at which a snapshot expires: a duration from now (`1h`), a date, or seconds since 1970.
 * @returns RFC3339
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for another text, or a time that has passed.
 */
export function parseExpiry(text: string, now = new Date()): string {
  const isDuration = /^[\d.]+[a-zµ]/.test(text);
  const time = parseTimestamp('expires', isDuration ? `-${text}` : text, now);
  if (time.unix * 1000 > now.getTime() - 1000) return time.text;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `a snapshot cannot expire at ${time.text}, which has passed: give a duration from now, such as 1h`,
    { key: 'options.expires' },
  );
}

/** Notes when a snapshot that is about to be taken expires. */
export async function noteExpiry(
  { layout }: Root,
  { id, expires }: Pick<Snapshot, 'id' | 'expires'>,
): Promise<void> {
  const seconds = parseTime(expires ?? '')?.unix;
  if (seconds === undefined) return;
  await call(
    native.batch(layout.root, [
      { op: 'mkdir', path: layout.expiring, mode: 0o700, exist: true },
      { op: 'mkdir', path: layout.expiry(seconds, id), mode: 0o700, exist: true },
    ]),
  );
}

async function dueNotes(layout: Layout, now: number): Promise<{ name: string; id: string }[]> {
  return (await listEntries(layout, layout.expiring)).flatMap((name) => {
    const [, seconds, id = ''] = NOTE.exec(name) ?? [];
    return isHex64(id) && Number(seconds) * 1000 <= now ? [{ name, id }] : [];
  });
}

/**
 * Removes the expired snapshots that nothing needs, children before their parents.
 * @param remove - removes one; throws ERR_SNAPSHOT_IN_USE where something needs it
 */
export async function removeExpired(
  { layout, log }: Root,
  remove: (snapshot: Snapshot) => Promise<void>,
  now = Date.now(),
): Promise<void> {
  const due: { readonly name: string; readonly snapshot: Snapshot | undefined }[] = [];
  const notes = await dueNotes(layout, now);
  const markers = notes.length === 0 ? new Set<string>() : await allMarkers(layout);
  for (const { name, id } of notes) {
    // The snapshot is being made or removed.
    if (markers.has(`snapshot.${id}`)) continue;
    try {
      due.push({ name, snapshot: (await readRecord(layout, id))?.snapshot });
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_STORE_CORRUPT')) throw error;
    }
  }
  due.sort((a, b) => (b.snapshot?.depth ?? 0) - (a.snapshot?.depth ?? 0));
  for (const { name, snapshot } of due) {
    try {
      if (snapshot) await remove(snapshot);
      await call(
        native.batch(layout.root, [{ op: 'rmdir', path: `${layout.expiring}/${name}`, missing: true }]),
      );
    } catch (error) {
      if (!LayerstackError.is(error, 'ERR_SNAPSHOT_IN_USE'))
        log.warn('an expired snapshot stays until the next writer', {
          id: snapshot?.id,
          error: isError(error) ? error.message : String(error),
        });
    }
  }
}
