/**
 * An opened store root. Opening for writing makes the tree, excludes dockerd while the root is open (LOCK_SH
 * on `volumes/metadata.db`, on which dockerd takes LOCK_EX), probes the kernel and the file system, and
 * removes the leftovers of dead writers. Opening read-only does none of this, and works beside a running
 * dockerd.
 */
import { access, constants, realpath, rmdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { pause } from '../core/abort.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { Aftermath } from './aftermath.ts';
import { Disk } from './disk.ts';
import { probeCapabilities, type Capabilities } from './caps.ts';
import { Changes } from './changes.ts';
import { Layout } from './layout.ts';
import { flockFile, Locks, type FlockHandle } from './lock.ts';
import { defaultLogger, type Logger } from './log.ts';
import { makeDirectories } from './make-directories.ts';
import { call, native } from './native.ts';
import { sweepPartials } from './partials.ts';
import { reconcile, sweepProbes } from './reconcile.ts';
import { requireSafe } from './safe-root.ts';
import { Session } from './session.ts';
import { spaceError } from './space.ts';
import { openStoreFile } from './store-files.ts';

export interface RootOptions {
  /** Writes nothing and takes no lock; a missing tree counts as empty. Default false. */
  readonly readOnly?: boolean;
  /**
   * Opens the root even if other users can write to it or to a directory above it; see system/safe-root.ts.
   * Default false.
   */
  readonly allowUnsafeRoot?: boolean;
  /** Default: the `layerstack` debug log (system/log.ts). */
  readonly log?: Logger;
}

/** The result of opening. Without a lock the root is open read-only. */
interface Opened {
  readonly layout: Layout;
  readonly caps: Capabilities;
  readonly writerLock?: FlockHandle | undefined;
}

/** dockerd, and the probes of layerstack, hold the lock for a moment while they check whether it is free. */
const LOCK_TRIES = 5;
const LOCK_PAUSE_MS = 20;

/** One opened root. It holds a lock, so the caller closes it. */
export class Root {
  readonly layout: Layout;
  readonly readOnly: boolean;
  /**
   * Nothing may be written in a read-only root, so its capabilities are probed in the temporary directory.
   */
  readonly caps: Capabilities;
  readonly log: Logger;
  readonly locks: Locks;
  readonly aftermath: Aftermath;
  /** The changes of images and names. */
  readonly changes: Changes;
  readonly disk: Disk;
  readonly #writerLock: FlockHandle | undefined;
  readonly #session: Session | undefined;
  #closed: Promise<void> | undefined;

  private constructor({ layout, caps, writerLock }: Opened, log: Logger) {
    this.layout = layout;
    this.readOnly = writerLock === undefined;
    this.caps = caps;
    this.log = log;
    this.locks = new Locks(layout.at(layout.locks));
    this.changes = new Changes(layout, log);
    this.#writerLock = writerLock;
    this.aftermath = new Aftermath(layout.root, log);
    this.disk = new Disk(layout);
    this.#session = writerLock && new Session(layout, this.aftermath);
  }

  /**
   * Opens the root at `path`. Opening for writing makes a missing one.
   * @throws {@link LayerstackError} ERR_NOT_ROOT without CAP_SYS_ADMIN (read-only: without access to the
   *   root); ERR_STORE_LOCKED while dockerd runs on it; ERR_STORE_UNSUPPORTED when its file system lacks
   *   d_type, trusted xattrs or whiteouts; ERR_NO_SPACE; ERR_INVALID_ARGUMENT when it is not a directory or,
   *   read-only, missing; ERR_STORE_UNSAFE when others can write to it; ERR_STORE_CORRUPT when a link was
   *   planted in it.
   */
  static async open(path: string, options: RootOptions = {}): Promise<Root> {
    const log = options.log ?? defaultLogger;
    try {
      return new Root(
        options.readOnly === true
          ? await openForReading(path, options)
          : await openForWriting(path, log, options),
        log,
      );
    } catch (error) {
      throw accessError(spaceError(error, path), path);
    }
  }

  /**
   * Returns this writer's session.
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY, or ERR_STORE_CLOSED after {@link close}.
   */
  session(): Session {
    if (this.#session === undefined) {
      throw new LayerstackError(
        'ERR_STORE_READ_ONLY',
        `the store ${this.layout.root} is open read-only: open it without readOnly (--read-only)`,
        {
          path: this.layout.root,
        },
      );
    }
    if (this.#closed !== undefined) {
      throw new LayerstackError('ERR_STORE_CLOSED', `the store ${this.layout.root} is closed`, {
        path: this.layout.root,
      });
    }
    return this.#session;
  }

  /** Ends the session and releases the root's lock. Idempotent. All work on the root must have ended. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#session?.close();
    this.locks.close();
    await this.aftermath.run('the lock of the root ends with this process', async () =>
      this.#writerLock?.release(),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function openForReading(path: string, options: RootOptions): Promise<Opened> {
  if (options.allowUnsafeRoot !== true) await requireSafe(path);
  const layout = new Layout(await directory(path));
  // Without this check, a store without access for this user would look empty.
  await access(layout.root, constants.R_OK | constants.X_OK);
  return { layout, caps: await probeTemporary() };
}

async function probeTemporary(): Promise<Capabilities> {
  const directory = tmpdir();
  try {
    return await probeCapabilities(directory);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT'))
      throw error;
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `the temporary directory ${directory} cannot be used (${error.code}): set TMPDIR to another`,
      { path: directory, cause: error },
    );
  }
}

async function openForWriting(path: string, log: Logger, options: RootOptions): Promise<Opened> {
  const absolute = resolve(path);
  if (options.allowUnsafeRoot !== true) await requireSafe(absolute);
  const made = await makeRoot(absolute);
  let writerLock: FlockHandle | undefined;
  try {
    const layout = new Layout(await directory(absolute));
    // An existing lock file is locked first, so that nothing is written into the root of a running dockerd.
    writerLock = await lockForWriting(layout, false);
    const caps = await probeCapabilities(layout.root);
    requireCapabilities(caps, layout.root);
    await call(native.batch(layout.root, layout.skeleton()));
    writerLock ??= await lockForWriting(layout, true);
    await sweepProbes(layout, log);
    const locks = new Locks(layout.at(layout.locks));
    await reconcile(layout, log, locks).finally(() => locks.close());
    await sweepPartials(layout, log);
    return { layout, caps, writerLock };
  } catch (error) {
    await writerLock?.release();
    if (made) await unmakeRoot(new Layout(absolute));
    throw readOnlyFileSystem(error, absolute);
  }
}

/**
 * Returns the canonical path: a root that is bind-mounted on itself, or reached through links, is the same
 * root.
 */
async function directory(path: string): Promise<string> {
  const real = await realpath(path);
  if ((await stat(real)).isDirectory()) return real;
  throw new LayerstackError('ERR_INVALID_ARGUMENT', `the store root ${path} is not a directory`, { path });
}

/** Makes the directory if it is missing. Returns whether it did. */
async function makeRoot(root: string): Promise<boolean> {
  const parent = dirname(root);
  if (parent === root) return false;
  await makeDirectories(parent, 0o755);
  try {
    await call(native.batch(parent, [{ op: 'mkdir', path: basename(root), mode: 0o710 }]));
    return true;
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false;
    throw error;
  }
}

/**
 * Removes the directories that were made for a root that cannot be used, unless they contain other entries.
 */
async function unmakeRoot(layout: Layout): Promise<void> {
  for (const step of layout.skeleton().reverse()) await rmdir(layout.at(step.path)).catch(() => undefined);
  await rmdir(layout.root).catch(() => undefined);
}

/**
 * Takes LOCK_SH on the writers' lock file. Returns undefined where the file is missing and `create` is false.
 */
async function lockForWriting(layout: Layout, create: boolean): Promise<FlockHandle | undefined> {
  const path = layout.at(layout.writerLock);
  for (let tries = 1; tries <= LOCK_TRIES; ++tries) {
    if (tries > 1) await pause(LOCK_PAUSE_MS);
    try {
      const { O_CREAT, O_RDONLY, O_RDWR } = constants;
      const file = await openStoreFile(path, create ? O_RDWR | O_CREAT : O_RDONLY);
      const handle = await flockFile(file, false);
      if (handle !== null) return handle;
    } catch (error) {
      // If something else is in the place of the lock's directory, making the skeleton fails and names it.
      if (!create && isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
      throw error;
    }
  }
  throw new LayerstackError(
    'ERR_STORE_LOCKED',
    `dockerd runs on the store ${layout.root}: stop it (systemctl stop docker docker.socket), ` +
      'or open the store with readOnly (--read-only)',
    { path },
  );
}

function requireCapabilities({ probe }: Capabilities, root: string): void {
  if (!probe.sysAdmin) {
    throw new LayerstackError(
      'ERR_NOT_ROOT',
      'layerstack needs root (CAP_SYS_ADMIN) to write a store: overlay whiteouts and mounts need it. Use sudo',
      { path: root },
    );
  }
  const missing = [
    ...(probe.dType ? [] : ['d_type (on xfs: made with ftype=1)']),
    ...(probe.trustedXattr ? [] : ['trusted.* extended attributes']),
    ...(probe.whiteouts ? [] : ['device nodes (whiteouts)']),
  ];
  if (missing.length > 0) {
    throw new LayerstackError(
      'ERR_STORE_UNSUPPORTED',
      `the file system of ${root} (${probe.fsType}) lacks ${missing.join(' and ')}, which overlay2 needs: ` +
        'choose a root on ext4, xfs (ftype=1) or btrfs',
      { path: root, found: probe.fsType },
    );
  }
}

function readOnlyFileSystem(error: unknown, path: string): unknown {
  if (!isSystemError(error, 'EROFS')) return error;
  return new LayerstackError(
    'ERR_STORE_READ_ONLY',
    `the file system of the store root ${path} is mounted read-only: remount it, or open the store with readOnly ` +
      '(--read-only)',
    { path, cause: error },
  );
}

/**
 * Explains why the root cannot be opened: missing access, a missing root, or a root that is not a directory.
 */
function accessError(error: unknown, path: string): unknown {
  if (isSystemError(error, 'EACCES', 'EPERM') && process.geteuid?.() !== 0) {
    return new LayerstackError('ERR_NOT_ROOT', `no access to the store root ${path}: use sudo`, {
      path,
      cause: error,
    });
  }
  // An error about a path below the root is not about the root, and names its path itself.
  if (isSystemError(error) && error.path?.startsWith(`${resolve(path)}/`) === true) return error;
  if (isSystemError(error, 'ENOENT')) {
    return new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `the store root ${path} does not exist and cannot be made: name another, or leave out --read-only`,
      {
        path,
        cause: error,
      },
    );
  }
  if (isSystemError(error, 'ENOTDIR', 'EEXIST')) {
    return new LayerstackError('ERR_INVALID_ARGUMENT', `the store root ${path} is not a directory`, {
      path,
      cause: error,
    });
  }
  return error;
}
