/**
 * Changes of several small files that become visible by ONE rename. The new files are written and fsynced in
 * `layerstack/changes/.tmp-<random>/`, beside empty files for removals. The rename of that directory to
 * `layerstack/changes/pending` decides the change: from then on every reader sees it as completed
 * ({@link Changes.pending}). Completing it means renaming the files to their places, which takes no space and
 * can be repeated. If the process dies while it completes the change, the next holder of the `references`
 * lock does so ({@link Changes.complete}). If the process dies before the decision, readers see nothing of
 * the change.
 *
 *   write:<n>:<path, ":" for "/">   the n-th step: this file is renamed to the path
 *   remove:<n>:<path>               the n-th step: the path is removed
 *   dockerd:<stamp>                 the state of volumes/metadata.db
 *
 * dockerd does not know about pending changes, and works with the files that it finds. It writes its
 * volumes/metadata.db whenever it starts. A pending change that was decided before such a start is dropped.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { isSystemError } from '../core/errors.ts';
import type { Layout } from './layout.ts';
import type { Logger } from './log.ts';
import { call, native, type BatchStep } from './native.ts';
import { listEntries } from './removal.ts';
import { hasDirectory, listDirectory, readStoreFile, readStoreFileSync, statEntry } from './store-files.ts';

/** A new file (0600), or the removal of a file or tree. Missing directories above a file are made (0700). */
export type ChangeStep =
  | { readonly op: 'write'; readonly path: string; readonly data: string | Uint8Array }
  | { readonly op: 'remove'; readonly path: string };

/** Maximum size of a file in a change. The largest is repositories.json. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;
/**
 * Readers never wait. If changes follow each other without a pause, a reader stops trying after this many.
 */
const READ_TRIES = 5;
/** Docker's own tree. The next writer removes the leftovers of a single replaced file there. */
const IMAGE = 'image/';
/** Where a removal has to be durable too. */
const LASTING = /^(?:image|layerstack\/packed)\//;
const PATH = /^(?!\.{1,2}(?:\/|$))[^/\0:\n]+(?:\/(?!\.{1,2}(?:\/|$))[^/\0:\n]+)*$/;

/** A step in its form on disk. */
interface Entry {
  /** Its file below `layerstack/changes/pending`. */
  readonly file: string;
  readonly op: ChangeStep['op'];
  readonly index: number;
  readonly path: string;
}

/**
 * A change that is decided but not completed. Objects of steps that are completed read as they are on disk.
 */
export class PendingChange {
  readonly #layout: Layout;
  readonly #written = new Map<string, string>();
  readonly #removed = new Set<string>();

  constructor(layout: Layout, entries: readonly Entry[]) {
    this.#layout = layout;
    for (const { file, op, path } of entries) {
      if (op === 'write') this.#written.set(path, file);
      else this.#removed.add(path);
    }
  }

  /**
   * Returns the content that this change gives to `path`: null where it removes the path, undefined where it
   * does not affect it.
   */
  read(path: string): Uint8Array | null | undefined {
    const file = this.#written.get(path);
    if (file !== undefined)
      return readStoreFileSync(this.#layout.at(pendingFile(file, this.#layout)), MAX_FILE_BYTES);
    return this.#isRemoved(path) ? null : undefined;
  }

  /** Returns the entries that `directory` has after this change; `found` are those on disk. */
  names(directory: string, found: readonly string[]): string[] {
    const names = new Set(this.#isRemoved(directory) ? [] : found);
    for (const path of this.#removed) if (dirname(path) === directory) names.delete(basename(path));
    for (const name of below(directory, this.#written.keys())) names.add(name);
    return [...names];
  }

  #isRemoved(path: string): boolean {
    for (let at = path; at !== '.'; at = dirname(at)) if (this.#removed.has(at)) return true;
    return false;
  }

  /** Returns the entries of `directory` that this change affects. */
  touched(directory: string): Set<string> {
    return new Set([...below(directory, this.#written.keys()), ...below(directory, this.#removed)]);
  }
}

/** The changes of one root. */
export class Changes {
  readonly #layout: Layout;
  readonly #log: Logger;

  constructor(layout: Layout, log: Logger) {
    this.#layout = layout;
    this.#log = log;
  }

  /** Returns the pending change, which readers have to apply, or undefined. Finding none takes 2 µs. */
  pending(): PendingChange | undefined {
    const entries = this.#entries();
    return entries === undefined || this.#isStale(entries)
      ? undefined
      : new PendingChange(this.#layout, entries.flatMap(parseEntry));
  }

  /** Returns the bytes of a file, with a pending change applied; undefined where it is missing. */
  async read(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
    const changed = this.pending()?.read(path);
    return changed === undefined ? readStoreFile(this.#layout.at(path), maxBytes) : (changed ?? undefined);
  }

  /** Returns the entries of a directory, with a pending change applied; none where it is missing. */
  async list(directory: string): Promise<string[]> {
    const pending = this.pending();
    const found = (await listDirectory(this.#layout.at(directory))) ?? [];
    return pending?.names(directory, found) ?? found;
  }

  /** Repeats `read` until no change happens during it. After some tries it returns the last result. */
  async steady<T>(read: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; ++tries) {
      const before = this.#stamp();
      try {
        const found = await read();
        if (tries === READ_TRIES || this.#stamp() === before) return found;
      } catch (error) {
        if (tries === READ_TRIES || this.#stamp() === before) throw error;
      }
    }
  }

  /** Returns a value that changes whenever a change begins, is decided or is completed. */
  #stamp(): bigint | undefined {
    return statSync(this.#layout.at(this.#layout.changes), { bigint: true, throwIfNoEntry: false })?.mtimeNs;
  }

  /**
   * Does the steps, in order, as one change. It is durable on return. The caller holds the `references` lock,
   * and has called {@link complete}. When it throws, nothing was changed. A step that fails after the
   * decision is only logged: all readers see the change as completed, and the next writer completes it.
   */
  async commit(steps: readonly ChangeStep[]): Promise<void> {
    const [first] = steps;
    if (first === undefined) return;
    if (steps.length === 1 && first.op === 'write' && first.path.startsWith(IMAGE))
      return this.#replace(first);
    const { root, own, changes, pendingChange } = this.#layout;
    const draft = `${changes}/.tmp-${randomBytes(8).toString('hex')}`;
    const made = this.#missingDirectories(steps);
    const dropDraft = async (): Promise<void> => {
      try {
        await call(native.removeTree(root, draft));
        for (const path of made.toReversed())
          await call(native.batch(root, [{ op: 'rmdir', path, missing: true }]));
      } catch (removalError) {
        this.#log.warn('left to the next writer', { error: removalError });
      }
    };
    try {
      await call(
        native.batch(root, [
          ...[own, changes, ...made].map((path) => directory(path)),
          { op: 'mkdir', path: draft, mode: 0o700 },
          ...this.#files(draft, steps),
          { op: 'rename', from: draft, to: pendingChange, noReplace: true },
        ]),
      );
    } catch (error) {
      await dropDraft();
      throw error;
    }
    try {
      await call(native.batch(root, [{ op: 'fsync', path: changes }]));
    } catch (error) {
      // This undoes the decision. If it fails, the change stays decided.
      const undone = native.batch(root, [{ op: 'rename', from: pendingChange, to: draft }]);
      if (
        await undone.then(
          () => true,
          () => false,
        )
      ) {
        await dropDraft();
        throw error;
      }
      this.#log.warn('done, but a power cut may undo it', { error });
    }
    try {
      await this.#carryOut();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#log.warn('done, but the next writer has to complete it on disk', { error });
    }
  }

  /** Completes a change that was decided and then interrupted. The caller holds the `references` lock. */
  async complete(): Promise<void> {
    const entries = this.#entries();
    if (entries === undefined) return;
    if (this.#isStale(entries)) {
      this.#log.info('dropping an interrupted change of images, because dockerd has run since');
      await call(native.removeTree(this.#layout.root, this.#layout.pendingChange));
      return;
    }
    this.#log.info('completing an interrupted change of images');
    await this.#carryOut();
  }

  /** Removes changes that were begun and never decided. The caller holds the `references` lock. */
  async sweep(): Promise<void> {
    const { root, changes } = this.#layout;
    const drafts = (await listEntries(this.#layout, changes)).filter((name) => name.startsWith('.tmp-'));
    await call(
      native.removeTree(
        root,
        drafts.map((name) => `${changes}/${name}`),
      ),
    );
  }

  /** Makes a change of one file, which needs only its own rename. */
  async #replace({ path, data }: ChangeStep & { readonly op: 'write' }): Promise<void> {
    const { root } = this.#layout;
    await call(native.batch(root, [directory(dirname(path)), { op: 'replace', path, data, mode: 0o600 }]));
    await call(native.batch(root, [{ op: 'fsync', path: dirname(path) }])).catch((error: unknown) =>
      this.#log.warn('done, but a power cut may undo it', { path, error }),
    );
  }

  /** Writes the files of a draft, and syncs those with content. */
  #files(draft: string, steps: readonly ChangeStep[]): BatchStep[] {
    const stamp = { name: `dockerd:${this.#dockerd()}`, data: '' };
    const files = steps.map((step, index) => ({
      name: `${step.op}:${index}:${step.path.replaceAll('/', ':')}`,
      data: step.op === 'write' ? step.data : '',
    }));
    return [stamp, ...files].map(({ name, data }) => ({
      ...{ op: 'write', path: `${draft}/${name}`, data, mode: 0o600 },
      sync: data.length > 0,
    }));
  }

  async #carryOut(): Promise<void> {
    const { root, pendingChange } = this.#layout;
    const entries = (this.#entries() ?? []).flatMap(parseEntry).sort((a, b) => a.index - b.index);
    const missing = this.#missingDirectories(entries);
    await call(
      native.batch(
        root,
        missing.map((path) => directory(path)),
      ),
    );
    // dockerd may see the files change one by one, so the renames follow each other without a pause.
    for (let start = 0, end = 0; start < entries.length; start = end) {
      const op = entries[start]?.op;
      while (end < entries.length && entries[end]?.op === op) ++end;
      const run = entries.slice(start, end);
      if (op === 'write')
        await call(
          native.batch(
            root,
            run.map(({ file, path }) => ({ op: 'rename', from: pendingFile(file, this.#layout), to: path })),
          ),
        );
      else
        await call(
          native.removeTree(
            root,
            run.map(({ path }) => path),
          ),
        );
    }
    const lasting = entries.filter(({ op, path }) => op === 'write' || LASTING.test(path));
    // Directories of layerstack may be new, so their own entries are synced too.
    const synced = new Set(
      lasting.flatMap(({ path }) =>
        path.startsWith(IMAGE) ? [dirname(path)] : [dirname(path), dirname(dirname(path))],
      ),
    );
    await call(
      native.batch(
        root,
        [...synced].map((path) => ({ op: 'fsync', path })),
      ),
    );
    await call(native.removeTree(root, pendingChange));
  }

  /** Returns the missing directories that these steps write into, parents first. */
  #missingDirectories(steps: readonly Pick<ChangeStep, 'op' | 'path'>[]): string[] {
    const missing = new Set<string>();
    for (const { op, path } of steps) {
      if (op !== 'write') continue;
      for (let at = dirname(path); at !== '.' && !this.#exists(at); at = dirname(at)) missing.add(at);
    }
    return [...missing].sort((a, b) => a.length - b.length);
  }

  #exists(path: string): boolean {
    return statEntry(this.#layout.at(path)) !== undefined;
  }

  /** Returns the files of the decided change, or undefined. */
  #entries(): string[] | undefined {
    const path = this.#layout.at(this.#layout.pendingChange);
    return hasDirectory(path) ? unlessGone(() => readdirSync(path)) : undefined;
  }

  #isStale(entries: readonly string[]): boolean {
    // The directory of a completed change is removed entry by entry, so it may be seen empty.
    return entries.length > 0 && !entries.includes(`dockerd:${this.#dockerd()}`);
  }

  /** Returns a value that changes whenever dockerd starts. */
  #dockerd(): string {
    const path = this.#layout.at(this.#layout.writerLock);
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stats === undefined ? '' : `${stats.size}.${stats.mtimeNs}`;
  }
}

function directory(path: string): BatchStep {
  return { op: 'mkdir', path, mode: 0o700, exist: true };
}

function pendingFile(file: string, layout: Layout): string {
  return `${layout.pendingChange}/${file}`;
}

function parseEntry(file: string): Entry[] {
  const [, op, index, escaped = ''] = /^(write|remove):(\d{1,9}):(.+)$/.exec(file) ?? [];
  const path = escaped.replaceAll(':', '/');
  return PATH.test(path) ? [{ file, op: op as ChangeStep['op'], index: Number(index), path }] : [];
}

/** Returns the names in `directory` that these paths lead through. */
function below(directory: string, paths: Iterable<string>): string[] {
  return [...paths].flatMap((path) =>
    path.startsWith(`${directory}/`) ? [path.slice(directory.length + 1).split('/', 1)[0] ?? ''] : [],
  );
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
