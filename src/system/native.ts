/**
 * The only door to the native addon: loads it (addon.ts) and types it. Every promise-returning function runs
 * on native threads, never on the event loop or on libuv's pool, and rejects with a system error as Node
 * shapes it, or with an Error whose `code` is one of `ERROR_KINDS`; `call` gives both the caller's stack.
 * Paths named `root` are absolute; the others are relative to it, and are resolved below it without following
 * a link out of it (native/sys/resolve).
 */
import { ERROR_KINDS, isError, LayerstackError, type ErrorCode, type ErrorFacts } from '../core/errors.ts';
import { loadAddon } from './addon.ts';

/** One step of {@link Native.batch}. Modes are exact, whatever the process's umask. */
export type BatchStep =
  /** `exist`: an existing directory is no error and stays as it is. */
  | { readonly op: 'mkdir'; readonly path: string; readonly mode: number; readonly exist?: boolean }
  /** Creates a file that must not exist. `sync`: fsync before the next step. */
  | {
      readonly op: 'write';
      readonly path: string;
      readonly data: string | Uint8Array;
      readonly mode: number;
      readonly sync?: boolean;
    }
  /**
   * Writes `.tmp-<base><random>` (or `temporary`) beside `path`, fsyncs it (unless `sync` is false) and
   * renames it over `path`.
   */
  | {
      readonly op: 'replace';
      readonly path: string;
      readonly data: string | Uint8Array;
      readonly mode: number;
      readonly temporary?: string;
      readonly sync?: boolean;
    }
  | { readonly op: 'symlink'; readonly path: string; readonly target: string }
  /** Another name of the file `target`; a link there is not followed. */
  | { readonly op: 'link'; readonly path: string; readonly target: string }
  /** An existing target is replaced as rename(2) does, or EEXIST with `noReplace`. */
  | { readonly op: 'rename'; readonly from: string; readonly to: string; readonly noReplace?: boolean }
  /** Both change places at once; on a file system that cannot, `to` goes by way of the name `via`. */
  | { readonly op: 'exchange'; readonly from: string; readonly to: string; readonly via: string }
  /** `missing`: ENOENT is no error. */
  | { readonly op: 'unlink'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'rmdir'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'chown'; readonly path: string; readonly uid: number; readonly gid: number }
  /** fsync of a file or directory. */
  | { readonly op: 'fsync'; readonly path: string }
  /** syncfs of the file system that holds `path`: data and metadata of everything written so far. */
  | { readonly op: 'syncfs'; readonly path: string }
  /** Two batches that have nothing to do with each other, on two threads where there are. */
  | { readonly op: 'together'; readonly first: readonly BatchStep[]; readonly second: readonly BatchStep[] }
  /** As {@link Native.removeTree}. */
  | { readonly op: 'removeTree'; readonly path: string }
  /** As {@link Native.mountOverlay}. */
  | { readonly op: 'mount'; readonly mount: OverlayMount }
  /** As {@link Native.unmount}; nothing mounted is no error. */
  | { readonly op: 'unmount'; readonly target: string; readonly detach: boolean }
  /** As {@link Native.populateInit}; `root` is absolute. */
  | {
      readonly op: 'populateInit';
      readonly root: string;
      readonly lowers: readonly string[];
      readonly upper: string;
    }
  /**
   * Makes the directory `path` (and those above it) as root's, mode 0755, in the upper of an overlay that is
   * not mounted, unless the view has it. Links are followed inside the view. `lowers` topmost first and
   * `upper`, relative to `root`, which is absolute.
   */
  | {
      readonly op: 'makeDirectory';
      readonly root: string;
      readonly lowers: readonly string[];
      readonly upper: string;
      readonly path: string;
    };

/** How an overlay is mounted; see system/caps.ts for the choice. */
export type MountMethod = 'fsconfig' | 'mount' | 'flat';

export interface OverlayMount {
  /** The store's `overlay2` directory; lowers, upper and work are relative to it. */
  readonly root: string;
  /** Where to mount: absolute. */
  readonly target: string;
  /** Topmost first, e.g. `l/ABC…`. */
  readonly lowers: readonly string[];
  readonly upper?: string;
  readonly work?: string;
  readonly readOnly?: boolean;
  readonly method: MountMethod;
  /** Extra options, e.g. `index=off`. */
  readonly options: readonly string[];
}

/** What the kernel, the file system and the libraries of this process can do, as tried and not as guessed. */
export interface Probe {
  readonly kernel: string;
  readonly uid: number;
  /** Effective CAP_SYS_ADMIN. */
  readonly sysAdmin: boolean;
  readonly fsType: string;
  readonly dType: boolean;
  readonly trustedXattr: boolean;
  /** mknod of a 0:0 character device works here. */
  readonly whiteouts: boolean;
  readonly overlay: boolean;
  /** fsopen + fsconfig + fsmount + move_mount of an overlay. */
  readonly newMountApi: boolean;
  /** fsconfig accepts `lowerdir+` (Linux 6.7). */
  readonly lowerdirAppend: boolean;
  /** More than one lower (Linux 4.0). */
  readonly multipleLowers: boolean;
  /** The overlay module has the `index` parameter. */
  readonly indexParameter: boolean;
  /** The module parameters `redirect_dir` and `metacopy` are on by default. */
  readonly redirectDir: boolean;
  readonly metacopy: boolean;
  readonly openat2: boolean;
  readonly sha256: 'openssl' | 'builtin';
  readonly inflate: string;
  /** Where zstd comes from: Node's own symbols, the system's libzstd, or nowhere (then fzstd is used). */
  readonly zstd: 'node' | 'libzstd' | 'none';
  /** Where libdeflate comes from, which compresses gzip faster than zlib. */
  readonly libdeflate: 'node' | 'libdeflate' | 'none';
}

/** Whose gzip encoder: libdeflate's makes many members, zlib's one. */
export type GzipEncoder = 'libdeflate' | 'zlib';

/** Bounds of one layer; every one is checked while streaming. */
export interface LayerLimits {
  /** Uncompressed bytes of the layer tar, with holes of sparse members as the zeros that they stand for. */
  readonly maxBytes: number;
  readonly maxEntries: number;
  readonly maxPathBytes: number;
  /** All PAX records of one member together, xattrs included. */
  readonly maxPaxBytes: number;
}

export interface LayerApplyOptions {
  /** Existing empty directory that receives the layer: absolute. */
  readonly diff: string;
  /** File to create with the gzipped tar-split: absolute. */
  readonly tarSplit: string;
  /**
   * A range of an open file, which stays the caller's, or a directory, as {@link LayerTar} packs it; without
   * a source the bytes are pushed with `write` and `end`.
   */
  readonly source?:
    | { readonly fd: number; readonly offset: number; readonly size: number }
    | {
        readonly directory: string;
        readonly kind: DirectoryKind;
        readonly latestMtime?: number | undefined;
      };
  readonly limits: LayerLimits;
}

/**
 * What a directory that becomes a layer is. `upper`: overlayfs's; its marks become those of the layer.
 * `plain`: what a layer would take for a mark (names that begin with `.wh.`, character devices 0:0) is left
 * out.
 */
export type DirectoryKind = 'upper' | 'plain';

export interface LayerWarning {
  readonly code: string;
  readonly member: string;
  readonly message: string;
}

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

export interface LayerApplied {
  /** `sha256:` + hex of the uncompressed tar, trailing bytes included. */
  readonly diffId: string;
  /** `sha256:` + hex of the bytes as they came. */
  readonly blobDigest: string;
  readonly blobSize: number;
  readonly tarSize: number;
  readonly compression: Compression;
  readonly entries: number;
  /** What layerdb's `size` file holds: st_size summed over unique non-directory inodes. */
  readonly contentSize: number;
  /** Of sparse members: bytes that files have and the tar does not. They count against `maxBytes`. */
  readonly holeBytes: number;
  /** The first 100 warnings, and how many there were. */
  readonly warnings: readonly LayerWarning[];
  readonly warningCount: number;
}

/**
 * A layer being applied on threads of its own. Nothing it wrote is synced: the caller does one syncfs for
 * all.
 */
export interface LayerApply {
  /** Settles when every byte is hashed and extracted; after a rejection nothing runs and no fd is open. */
  readonly result: Promise<LayerApplied>;
  /** Takes a copy of `chunk`; resolves when there is room for another. Rejects as `result` does. */
  write(chunk: Uint8Array): Promise<void>;
  /** No more bytes will come. */
  end(): void;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
  /** Bytes of the source that have been read so far. */
  bytesRead(): number;
}

export interface ArchiveMember {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'hardlink' | 'other';
  readonly linkname: string;
  /** Where the content starts in the file, in bytes. */
  readonly offset: number;
  readonly size: number;
}

/** A streaming decompressor. */
export interface Decoder {
  /**
   * Gives input (or `null` for its end, or `undefined` for "go on with what you have") and takes at most 256
   * KiB of output. `more`: call again with `undefined` before giving more input.
   */
  decode(input: Uint8Array | null | undefined): Promise<{ chunk: Uint8Array; more: boolean }>;
}

/** Rebuilds a layer tar from its directory and tar-split. */
export interface LayerAssembler {
  /**
   * The next bytes (up to 256 KiB), or null at the end. ERR_STORE_CORRUPT with `member` where a file has
   * changed, and in place of the end where the digest is not the DiffID. Bytes are still being summed when
   * they are given: they must not be written to.
   */
  read(): Promise<Uint8Array | null>;
  /**
   * The next bytes (about 8 MiB) straight to an open file, without JavaScript's memory; fewer where the
   * reader of a pipe keeps them waiting for 25 ms. Rejects as `read`, as write(2), and with ERR_ABORTED
   * behind the end. Not to be mixed with `read`.
   */
  writeTo(fd: number): Promise<{ readonly bytes: number; readonly ended: boolean }>;
  close(): void;
}

/** A layer's tar, rebuilt, verified and compressed on all processors. */
export interface LayerCompressor {
  /**
   * The next bytes, and how many of the tar they stand for. The last has the digest of all bytes. Behind it,
   * and after close: no bytes and no digest. One call at a time. Rejects as {@link LayerAssembler}.
   */
  read(): Promise<{ readonly chunk: Uint8Array; readonly tarBytes: number; readonly digest?: string }>;
  /** Stops within milliseconds, a read under way included. */
  close(): void;
}

/** The layer tar of an upper directory, or the tar of a merged view. */
export interface LayerTar {
  /**
   * The next bytes (up to 256 KiB), null at the end, and what since the last read could not be put into the
   * tar. ERR_UPPER_CHANGED with `member` where a file shrank meanwhile, ERR_UPPER_UNSUPPORTED as
   * `listChanges`.
   */
  read(): Promise<{ readonly chunk: Uint8Array | null; readonly warnings: readonly LayerWarning[] }>;
  /**
   * Resolves when nothing of the directory is open any more, reads under way included. Reads then give the
   * end.
   */
  close(): Promise<void>;
}

/** Which part of a directory a {@link LayerTar} takes, as `docker cp` does: without overlayfs's marks. */
export interface TarSubtree {
  /**
   * Links on the way are resolved inside the directory; the last is followed where the path ends in `/` or
   * `/.`.
   */
  readonly path: string;
  /** What the top member is called; empty: every name begins with `/`. */
  readonly name: string;
  /** Takes what is mounted inside too. */
  readonly crossMounts: boolean;
  /**
   * Files with holes become sparse members, for a reader that keeps holes; else only where their zeros would
   * be too many.
   */
  readonly sparse: boolean;
}

export interface TreeUnpackOptions {
  /** Absolute: nothing outside is reached, whatever links say. */
  readonly root: string;
  /** Below it: an existing directory. */
  readonly directory: string;
  /** A directory and something else do not replace each other: ERR_PATH_TYPE. */
  readonly keepKinds: boolean;
  /** Of the tar, holes of sparse members included: ERR_LIMIT_EXCEEDED. */
  readonly maxBytes: number;
  /** Whom everything belongs to: as the tar says, this process (without set-id bits then), or one user. */
  readonly owner: 'archive' | 'caller' | { readonly uid: number; readonly gid: number };
}

/** An uncompressed tar being extracted into an existing tree, on a thread of its own. */
export interface TreeUnpack {
  /** Settles at the end with the first 100 warnings. A rejection leaves what was extracted before. */
  readonly result: Promise<readonly LayerWarning[]>;
  /** Takes a copy of `chunk`; resolves when there is room for another. Rejects as `result` does. */
  write(chunk: Uint8Array): Promise<void>;
  /** No more bytes will come. */
  end(): void;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

export interface ErofsImageOptions {
  /** A directory, absolute; or, with `lowers` (topmost first), what those are relative to. */
  readonly root: string;
  readonly lowers: readonly string[];
  /** Of an empty regular file; it may be closed meanwhile. */
  readonly fd: number;
  /** Seconds since 1970 that no time in the image exceeds: the image's own time, else 0. */
  readonly latestMtime?: number | undefined;
}

/** A root file system being written as an EROFS image, on a thread of its own. Nothing is synced. */
export interface ErofsImage {
  /** Settles at the end with the first 100 warnings, when nothing of the root is open any more. */
  readonly result: Promise<readonly LayerWarning[]>;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

export interface ErofsIndexOptions {
  /** Of an empty regular file, open for reading too; it may be closed meanwhile. */
  readonly fd: number;
  /** Files with plain tars; `tag` says what each is, in at most 64 bytes. */
  readonly devices: readonly { readonly fd: number; readonly size: number; readonly tag: string }[];
  /** The lowest first; `device` counts from 0. The index shows what an overlay of them would. */
  readonly layers: readonly { readonly device: number; readonly offset: number; readonly size: number }[];
  /** Whether all bytes are read and hashed, or headers only. */
  readonly hashed: boolean;
  readonly limits: LayerLimits;
}

/** An EROFS index over tars being written, on threads of its own. Nothing is synced. */
export interface ErofsIndex {
  /**
   * Settles at the end with the layers' DiffIDs (null where they are not hashed) and the first 100 warnings. Refuses what extraction
   * refuses, with the facts `member` and `layer`, which counts from 0.
   */
  readonly result: Promise<{
    readonly diffIds: readonly (string | null)[];
    readonly warnings: readonly LayerWarning[];
  }>;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

/** How the kernel gets at the files of an index: themselves, or as loop devices that go away with the mount. */
export type ErofsMethod = 'file' | 'loop';

export interface ErofsMount {
  /** Of the index. */
  readonly fd: number;
  /** As the index was written over. */
  readonly devices: readonly number[];
  readonly method: ErofsMethod;
  /** An existing directory: absolute. */
  readonly target: string;
}

export interface RootPathStat {
  /** With the file type. */
  readonly mode: number;
  readonly size: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /**
   * Of a link: where it leads in the end, absolute in the root, also where nothing is there; to itself where
   * it is a loop.
   */
  readonly linkTarget?: string;
}

/** Who is at the other end of a unix connection, as the kernel knows it. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface SocketInfo {
  readonly family: 'unix' | 'inet' | 'inet6' | 'other';
  readonly stream: boolean;
  readonly listening: boolean;
  /** Bound to an IP address that only this machine reaches. */
  readonly loopback: boolean;
}

/** An entry of the store, itself and not what a link leads to. */
export interface StoreEntry {
  readonly kind: 'file' | 'directory' | 'link' | 'other';
  readonly size: number;
  readonly ino: number;
  readonly dev: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

export interface Native {
  // store_binding.cc: by absolute paths of which no part is a link; see system/store-files.ts, the only
  // caller
  /**
   * Null where it is missing. ERR_STORE_CORRUPT for a link, a fifo, socket or device, and too many bytes;
   * EISDIR.
   */
  readStoreFiles(paths: readonly string[], maxBytes: number): Promise<(Buffer | null)[]>;
  readStoreFileSync(path: string, maxBytes: number): Buffer | null;
  /** Null where it is missing, EINVAL where it is no link. */
  readStoreLink(path: string): string | null;
  statStoreEntry(path: string): StoreEntry | null;
  listStoreDirectory(path: string): Promise<string[] | null>;
  /** The fd becomes the caller's. `flags` of open(2). */
  openStoreFile(path: string, flags: number, mode: number): number;

  // files_binding.cc
  /**
   * Does the steps in order on one native thread; stops at the first that fails (nothing is undone): the
   * error's `step` says which. No link is followed: one on the way is ERR_STORE_CORRUPT with its path, and
   * `..` out of the root EXDEV.
   */
  batch(root: string, steps: readonly BatchStep[]): Promise<void>;
  /** flock(2) without waiting; false where another holds it. Dies with the fd. */
  tryFlock(fd: number, exclusive: boolean): boolean;
  /** An OFD lock on one byte of the file, without waiting. Dies with the fd. `offset` < 2^53. */
  tryRangeLock(fd: number, offset: number, exclusive: boolean): boolean;
  /**
   * Opens a lock file, making it where it is missing, and takes such a lock: an fd, or null where another
   * holds it.
   */
  openRangeLock(path: string, offset: number, exclusive: boolean): number | null;
  getXattr(path: string, name: string): Promise<Uint8Array | null>;
  setXattr(path: string, name: string, value: Uint8Array): Promise<void>;
  listXattrs(path: string): Promise<string[]>;
  /** mknod(2); `mode` with the file type. A whiteout is `makeNode(path, S_IFCHR, 0, 0)`. */
  makeNode(path: string, mode: number, major: number, minor: number): Promise<void>;
  /**
   * Removes `path` below `root` and all below it, fd-relative, without following links or entering mounts
   * (EBUSY). A missing path is no error. Resolves with the number of removed entries. Several go one after
   * the other.
   */
  removeTree(root: string, path: string | readonly string[]): Promise<number>;
  /**
   * st_size summed over the unique inodes below the directory `path` that are no directories: what layerdb's
   * `size` holds for a layer. What vanishes meanwhile does not count.
   */
  contentSize(path: string): Promise<number>;
  /**
   * Three numbers for each name in `directory`: inode, change time (milliseconds since 1970) and st_size, of
   * a link its own; NaN for one that is missing, and for all where the directory is.
   */
  stampFiles(directory: string, names: readonly string[]): Promise<Float64Array>;
  /** Reads a file inside a root file system, links resolved inside it; null where there is none. */
  readFileInRoot(root: string, path: string, maxBytes: number): Promise<Uint8Array | null>;
  /**
   * write(2) of all of `bytes`, but waits at most 25 ms for the reader of a pipe or socket, blocking or not.
   * Resolves with the bytes written: fewer where the reader is slower.
   */
  writeFd(fd: number, bytes: Uint8Array): Promise<number>;
  /**
   * F_SETPIPE_SZ to at least 1 MiB, where `fd` is a pipe and the system allows it: both ends wake each other
   * less often.
   */
  widenPipe(fd: number): void;

  // mounts_binding.cc
  mountOverlay(mount: OverlayMount): Promise<void>;
  /** False where nothing was mounted. `detach`: MNT_DETACH. Never follows a link at `target`. */
  unmount(target: string, detach: boolean): Promise<boolean>;
  /** Whether something is mounted at exactly `path`, and whether it is an overlay. */
  mountState(path: string): Promise<'none' | 'overlay' | 'other'>;
  /** Tries everything in a scratch directory that it makes below `dir` and removes. */
  probe(dir: string): Promise<Probe>;
  /**
   * Fills the upper of an init layer as dockerd does (docs/docker-overlay2-store.md, "Init layer"), looking
   * the image's layers up without mounting them. `lowers` topmost first and `upper`, relative to `root`.
   */
  populateInit(root: string, lowers: readonly string[], upper: string): Promise<void>;
  /**
   * Merges `lowers` (topmost first) into the new directory `target` by hard links, whiteouts and opaques
   * honoured.
   */
  flatten(root: string, lowers: readonly string[], target: string): Promise<void>;

  // codec_binding.cc
  /** By its first bytes (6 are enough). */
  sniffCompression(head: Uint8Array): Compression;
  Decoder: new (compression: 'gzip' | 'zstd') => Decoder;
  /** `diff`: the layer's own directory (absolute). Without `diffId` the digest is not checked. */
  LayerAssembler: new (diff: string, tarSplit: string, diffId?: string) => LayerAssembler;
  /** Bytes of the layer tar, by its tar-split alone. */
  layerTarSize(tarSplit: string): Promise<number>;

  // compress_binding.cc
  /**
   * Its first read rejects with ERR_COMPRESSION_UNSUPPORTED, ERR_INVALID_ARGUMENT for a bad level (0: the
   * default).
   */
  LayerCompressor: new (options: {
    /** As {@link LayerAssembler}. */
    readonly diff: string;
    readonly tarSplit: string;
    readonly diffId: string;
    readonly compression: 'gzip' | 'zstd';
    readonly gzip: GzipEncoder;
    readonly level: number;
  }) => LayerCompressor;

  // layer_binding.cc
  LayerApply: new (options: LayerApplyOptions) => LayerApply;
  /** Lists the members of an uncompressed tar by reading its headers only. At most `maxMembers`. */
  indexArchive(fd: number, maxMembers: number): Promise<ArchiveMember[]>;

  // diff_binding.cc
  /**
   * What a container changed, as `docker diff` lists it, sorted: `A`, `C` or `D` and the path, each with a
   * NUL at its end. `upper` and `lowers` (topmost, the init layer, first) relative to `root`. Walks the upper
   * only. ERR_UPPER_UNSUPPORTED for redirect and metacopy entries.
   */
  listChanges(root: string, upper: string, lowers: readonly string[]): Promise<Uint8Array>;
  /** `latestMtime`: seconds since 1970 that no time in the tar exceeds (SOURCE_DATE_EPOCH). */
  LayerTar: new (directory: string, latestMtime?: number, subtree?: TarSubtree) => LayerTar;

  // copy_binding.cc
  /** Of `path` inside `root`; its last component is followed only where it ends in `/` or `/.`. */
  statInRoot(root: string, path: string): Promise<RootPathStat>;
  TreeUnpack: new (options: TreeUnpackOptions) => TreeUnpack;

  // erofs_binding.cc
  ErofsImage: new (options: ErofsImageOptions) => ErofsImage;
  ErofsIndex: new (options: ErofsIndexOptions) => ErofsIndex;
  /** Mounts an index, read-only. The fds may be closed then. ENOTBLK where `file` does not work with these files. */
  mountErofs(mount: ErofsMount): Promise<void>;
  /** How indexes are mounted, tried with files without names in `dir`; null where they are not. */
  probeErofs(dir: string): Promise<ErofsMethod | null>;

  // socket_binding.cc
  /**
   * A unix socket that listens at `path`, where nothing may be (EADDRINUSE); nobody can connect before its
   * mode and group are set. `gid` -1: the process's. The fd becomes the caller's. After a failure nothing is
   * left.
   */
  listenUnix(path: string, mode: number, gid: number, backlog: number): Promise<number>;
  /** SO_PEERCRED of a connected unix socket; null for any other. */
  peerCredentials(fd: number): PeerCredentials | null;
  /** Null where `fd` is no socket. Throws EBADF where it is not open. */
  describeSocket(fd: number): SocketInfo | null;
  /** One datagram to a unix socket (`@name`: abstract), without waiting; false where its queue is full. */
  sendDatagram(address: string, message: string): boolean;
  /**
   * Gives the calling thread, the one of JavaScript, this nice value; threads of native code keep what they
   * have. False where that is not allowed.
   */
  preferThisThread(nice: number): boolean;
}

/**
 * The addon. It is loaded when it is first used, once: until then a caller can say where it is, and what does
 * not use it works without. From then on it is the prototype, and costs no look-up of ours.
 */
export const native: Native = Object.create(
  new Proxy(
    {},
    {
      get: (_, key): unknown => Reflect.get(take(), key),
      getOwnPropertyDescriptor: (_, key) => Reflect.getOwnPropertyDescriptor(take(), key),
    },
  ),
) as Native;

function take(): object {
  const addon = loadAddon();
  Object.setPrototypeOf(native, addon);
  return addon;
}

/**
 * Awaits a native promise so that its rejection has the caller's stack, and so that an input error becomes a
 * {@link LayerstackError} with its facts. System errors pass as they are.
 */
export async function call<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw ownError(error, call);
  }
}

/** {@link call} for a native function that does not wait. */
export function callSync<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw ownError(error, callSync);
  }
}

function ownError(error: unknown, caller: (...args: never[]) => unknown): unknown {
  if (!isError(error)) return error;
  const { code, message, stack, ...facts } = {
    ...error,
    message: error.message,
    stack: error.stack,
  } as Error & {
    code?: string;
  } & ErrorFacts;
  void stack;
  if (code !== undefined && code in ERROR_KINDS)
    return new LayerstackError(code as ErrorCode, message, facts);
  Error.captureStackTrace(error, caller);
  return error;
}
