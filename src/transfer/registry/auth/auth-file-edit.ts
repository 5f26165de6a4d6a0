/**
 * Changes docker's config.json. It reads the file anew under a lock of its directory, changes one entry,
 * keeps all others, and replaces the whole file (temp, fsync, rename, fsync of the directory). The file has
 * docker's tabs, and only its owner can read it.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { pause, throwIfAborted } from '../../../core/abort.ts';
import { LayerstackError, unlessMissing } from '../../../core/errors.ts';
import { Aftermath } from '../../../system/aftermath.ts';
import { holdFlock, type FlockHandle } from '../../../system/lock.ts';
import type { Logger } from '../../../system/log.ts';
import { makeDirectories } from '../../../system/make-directories.ts';
import type { BatchStep } from '../../../system/native.ts';
import { isSameRegistry, readAuthFile, type AuthFile } from './auth-file.ts';

const LOCK_PAUSE_MS = 20;
/** Other processes hold the lock for milliseconds. */
const LOCK_TRIES = 500;

export interface EditOptions {
  readonly log: Logger;
  readonly signal?: AbortSignal | undefined;
}

/** Writes an entry of `auths`, in place of all others for the same registry. Durable on return. */
export async function writeAuth(
  path: string,
  key: string,
  entry: Readonly<Record<string, string>>,
  { log, signal }: EditOptions,
): Promise<void> {
  await edit(path, (auths) => new Map([...without(auths, key), [key, entry]]), { log, signal });
}

/**
 * Removes every entry of `auths` for the registry. Returns false, and writes nothing, where there was none.
 * Durable on return.
 */
export async function removeAuth(path: string, key: string, options: EditOptions): Promise<boolean> {
  const change = (auths: ReadonlyMap<string, unknown>): Map<string, unknown> | undefined => {
    const left = without(auths, key);
    return left.size === auths.size ? undefined : left;
  };
  return edit(path, change, options);
}

function without(auths: ReadonlyMap<string, unknown>, key: string): Map<string, unknown> {
  return new Map([...auths].filter(([each]) => each !== key && !isSameRegistry(each, key)));
}

/** Returns whether `change` changed the entries. */
async function edit(
  given: string,
  change: (auths: ReadonlyMap<string, unknown>) => ReadonlyMap<string, unknown> | undefined,
  { log, signal }: EditOptions,
): Promise<boolean> {
  // The file may be a link into a user's repository of dotfiles.
  const path = (await unlessMissing(realpath(given))) ?? given;
  const directory = dirname(path);
  await makeDirectories(directory, 0o700);
  const held = await lock(directory, signal);
  try {
    const file = await readAuthFile(path);
    const auths = change(file?.auths ?? new Map<string, unknown>());
    if (!auths) return false;
    await replace(path, serialize(file, auths), log);
    return true;
  } finally {
    await held.release();
  }
}

async function replace(path: string, text: string, log: Logger): Promise<void> {
  const before = await unlessMissing(stat(path));
  const name = basename(path);
  const owner: BatchStep[] = before ? [{ op: 'chown', path: name, uid: before.uid, gid: before.gid }] : [];
  // The name is fixed, so that the next change removes the leftover of a killed login, which contains its
  // password.
  const temporary = `.tmp-${name}`;
  const change: BatchStep[] = [
    { op: 'unlink', path: temporary, missing: true },
    { op: 'replace', path: name, temporary, data: text, mode: 0o600 },
  ];
  await new Aftermath(dirname(path), log).batch(change, {
    steps: [...owner, { op: 'fsync', path: '.' }],
    otherwise: `a power cut may undo the change of ${path}, or the file has another owner now`,
  });
}

/** Serializes the file as docker does. */
function serialize(file: AuthFile | undefined, auths: ReadonlyMap<string, unknown>): string {
  const document = { ...file?.document };
  // Go accepts the field name in any case; the last one counts.
  const field = Object.keys(document).findLast((name) => name.toLowerCase() === 'auths') ?? 'auths';
  document[field] = Object.fromEntries(auths);
  return JSON.stringify(document, undefined, '\t');
}

/** Locks the directory itself, so no lock file is left behind. */
async function lock(directory: string, signal: AbortSignal | undefined): Promise<FlockHandle> {
  for (let tries = 0; tries < LOCK_TRIES; tries++) {
    throwIfAborted(signal);
    const held = await holdFlock(directory, true);
    if (held) return held;
    await pause(LOCK_PAUSE_MS, signal);
  }
  throw new LayerstackError(
    'ERR_CREDENTIALS_INVALID',
    `another program has held the lock of ${directory} for ten seconds: try again when it has ended`,
    { path: directory },
  );
}
