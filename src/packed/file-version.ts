/**
 * Identifies a file and its version. An index points into the archive's bytes. So an index of an earlier
 * version must not be mounted with a file that was written to, truncated or replaced since.
 */
import { stat } from 'node:fs/promises';
import { pause } from '../core/abort.ts';
import { LayerstackError, unlessMissing } from '../core/errors.ts';

/** The numbers are strings, because a double cannot hold all their digits. */
export interface FileVersion {
  /** Absolute and canonical. */
  readonly path: string;
  readonly dev: string;
  readonly ino: string;
  readonly size: string;
  readonly mtime: string;
  readonly ctime: string;
}

/** Longer than a tick of the kernel's clock (at most 10 ms), in which two changes have the same time. */
const TICK_MS = 20;

type Facts = Readonly<Record<'dev' | 'ino' | 'size' | 'mtimeNs' | 'ctimeNs', bigint>>;

/**
 * Returns the version of a file. It waits until the file's last change is older than a tick of the kernel's
 * clock, so that every later change has another time.
 * @param statFile stats the file anew at each call
 */
export async function versionOf(path: string, statFile: () => Promise<Facts>): Promise<FileVersion> {
  const facts = await statFile();
  const ageMs = Date.now() - Number(facts.ctimeNs / 1_000_000n);
  if (ageMs < 0 || ageMs >= TICK_MS) return versionFrom(path, facts);
  await pause(TICK_MS);
  return versionFrom(path, await statFile());
}

/**
 * Resolves if each path still leads to the same unchanged file.
 * @param sourceName the name of the archive in messages
 * @throws {@link LayerstackError} ERR_ARCHIVE_CHANGED
 */
export async function requireUnchanged(sourceName: string, versions: readonly FileVersion[]): Promise<void> {
  for (const before of versions) {
    const facts = await unlessMissing(stat(before.path, { bigint: true }));
    const what = facts === undefined ? 'was removed' : differenceOf(before, versionFrom(before.path, facts));
    if (what !== undefined) throw changed(sourceName, before.path, what);
  }
}

/** The error of an archive that has changed since its index was made. */
export function changed(sourceName: string, path: string, what: string): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_CHANGED',
    `${sourceName}: ${path} ${what} while it was in use; an archive must not change while it is mounted: unmount it, and ` +
      'mount it again',
    { path },
  );
}

function differenceOf(before: FileVersion, now: FileVersion): string | undefined {
  if (before.dev !== now.dev || before.ino !== now.ino) return 'was replaced by another file';
  if (before.size !== now.size) return `was cut off or extended (${before.size} bytes became ${now.size})`;
  return before.mtime === now.mtime && before.ctime === now.ctime ? undefined : 'was changed';
}

function versionFrom(path: string, facts: Facts): FileVersion {
  return {
    path,
    dev: String(facts.dev),
    ino: String(facts.ino),
    size: String(facts.size),
    mtime: String(facts.mtimeNs),
    ctime: String(facts.ctimeNs),
  };
}
