/**
 * Loads the native addon (addon.ts) and gives it types. All access to the addon goes through this file. Every
 * promise-returning function runs on native threads, never on the event loop or on libuv's pool. It rejects
 * with a system error in Node's shape, or with an Error whose `code` is one of `ERROR_KINDS`; `call` gives
 * both the caller's stack. Paths named `root` are absolute. Other paths are relative to it, and are resolved
 * below it without following a link out of it (native/sys/resolve).
 */
import { ERROR_KINDS, isError, LayerstackError, type ErrorCode, type ErrorFacts } from '../core/errors.ts';
import { loadAddon } from './addon.ts';

/** One step of {@link Native.batch}. Modes are exact, whatever the process's umask. */
export type BatchStep =
  /** `exist`: an existing directory is accepted and stays as it is. */
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
  /** Makes a hard link to the file `target`; a symlink there is not followed. */
  | { readonly op: 'link'; readonly path: string; readonly target: string }
  /** Replaces an existing target as rename(2) does, or fails with EEXIST with `noReplace`. */
  | { readonly op: 'rename'; readonly from: string; readonly to: string; readonly noReplace?: boolean }
  /** Exchanges both at once. On a file system that cannot, `to` is renamed to `via` in between. */
  | { readonly op: 'exchange'; readonly from: string; readonly to: string; readonly via: string }
  /** `missing`: ENOENT is accepted. */
  | { readonly op: 'unlink'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'rmdir'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'chown'; readonly path: string; readonly uid: number; readonly gid: number }
  /** fsync of a file or directory. */
  | { readonly op: 'fsync'; readonly path: string }
  /** syncfs of the file system that holds `path`: data and metadata of everything written so far. */
  | { readonly op: 'syncfs'; readonly path: string }
  /** Two independent batches, on two threads if possible. */
  | { readonly op: 'together'; readonly first: readonly BatchStep[]; readonly second: readonly BatchStep[] }
  /** As {@link Native.removeTree}. */
  | { readonly op: 'removeTree'; readonly path: string }
  /** As {@link Native.mountOverlay}. */
  | { readonly op: 'mount'; readonly mount: OverlayMount }
  /** As {@link Native.unmount}; a path without a mount is accepted. */
  | { readonly op: 'unmount'; readonly target: string; readonly detach: boolean }
  /** As {@link Native.populateInit}; `root` is absolute. */
  | {
      readonly op: 'populateInit';
      readonly root: string;
      readonly lowers: readonly string[];
      readonly upper: string;
    }
  /**
   * Makes the directory `path` (and its parents) in the upper of an overlay that is not mounted, unless the
   * merged view has it: owned by root, mode 0755. Links are followed inside the view. `lowers` (topmost
   * first) and `upper` are relative to `root`, which is absolute.
   */
  | {
      readonly op: 'makeDirectory';
      readonly root: string;
      readonly lowers: readonly string[];
      readonly upper: string;
      readonly path: string;
    };

/** The way to mount an overlay; system/caps.ts chooses it. */
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

/**
 * The capabilities of the kernel, the file system and the libraries of this process. All are probed, none is
 * guessed.
 */
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
  /** The source of zstd: Node's own symbols, the system's libzstd, or none (then fzstd is used). */
  readonly zstd: 'node' | 'libzstd' | 'none';
  /** The source of libdeflate, which compresses gzip faster than zlib. */
  readonly libdeflate: 'node' | 'libdeflate' | 'none';
}

/** The gzip encoder: libdeflate writes many members, zlib one. */
export type GzipEncoder = 'libdeflate' | 'zlib';

/** Bounds of one layer. All are checked while streaming. */
export interface LayerLimits {
  /** Uncompressed bytes of the layer tar. Holes of sparse members count as zeros. */
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

/** Applies a layer on threads of its own. It syncs nothing: the caller does one syncfs for all layers. */
export interface LayerApply {
  /**
   * Resolves when every byte is hashed and extracted. After a rejection nothing runs and all fds are closed.
   */
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
   * Passes input (`null` for its end, `undefined` to continue with the present input) and returns at most 256
   * KiB of output. `more`: call again with `undefined` before passing more input.
   */
  decode(input: Uint8Array | null | undefined): Promise<{ chunk: Uint8Array; more: boolean }>;
}

/** Rebuilds a layer tar from its directory and tar-split. */
export interface LayerAssembler {
  /**
   * Returns the next bytes (up to 256 KiB), or null at the end. Rejects with ERR_STORE_CORRUPT and `member`
   * where a file has changed, and in place of the end where the digest differs from the DiffID. A thread may
   * still hash the returned bytes, so the caller must not write to them.
   */
  read(): Promise<Uint8Array | null>;
  /**
   * Writes the next bytes (about 8 MiB) to an open file, without JavaScript's memory; fewer where the reader
   * of a pipe delays them by 25 ms. Rejects as `read`, as write(2), and with ERR_ABORTED after the end. It
   * cannot be mixed with `read`.
   */
  writeTo(fd: number): Promise<{ readonly bytes: number; readonly ended: boolean }>;
  close(): void;
}

/** A layer's tar, rebuilt, verified and compressed on all processors. */
export interface LayerCompressor {
  /**
   * Returns the next bytes, and the number of bytes of the tar that they encode. The last result has the
   * digest of all bytes. After it, and after close, a result has neither bytes nor a digest. One call at a
   * time. Rejects as {@link LayerAssembler}.
   */
  read(): Promise<{ readonly chunk: Uint8Array; readonly tarBytes: number; readonly digest?: string }>;
  /** Stops within milliseconds, also a running read. */
  close(): void;
}

/** The layer tar of an upper directory, or the tar of a merged view. */
export interface LayerTar {
  /**
   * Returns the next bytes (up to 256 KiB), null at the end, with the warnings since the last read. Rejects
   * with ERR_UPPER_CHANGED and `member` where a file shrank meanwhile, and with ERR_UPPER_UNSUPPORTED as
   * `listChanges`.
   */
  read(): Promise<{ readonly chunk: Uint8Array | null; readonly warnings: readonly LayerWarning[] }>;
  /**
   * Resolves when all files of the directory are closed and running reads have ended. Reads then return the
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
  /** The name of the top member; empty: every name begins with `/`. */
  readonly name: string;
  /** Includes mounts inside the directory. */
  readonly crossMounts: boolean;
  /**
   * Writes all files with holes as sparse members, for readers that keep holes; default: only where the zeros
   * are too many.
   */
  readonly sparse: boolean;
}

export interface TreeUnpackOptions {
  /** Absolute. Links cannot lead out of it. */
  readonly root: string;
  /** An existing directory below it. */
  readonly directory: string;
  /** A directory and something else do not replace each other: ERR_PATH_TYPE. */
  readonly keepKinds: boolean;
  /** Bound of the tar's bytes, including holes of sparse members: ERR_LIMIT_EXCEEDED. */
  readonly maxBytes: number;
  /** The owner of all entries: as the tar says, this process (then without set-id bits), or one user. */
  readonly owner: 'archive' | 'caller' | { readonly uid: number; readonly gid: number };
}

/** Extracts an uncompressed tar into an existing tree, on a thread of its own. */
export interface TreeUnpack {
  /**
   * Resolves at the end with the first 100 warnings. A rejection leaves the files that were extracted before.
   */
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
  /** The fd of an empty regular file. The caller may close it meanwhile. */
  readonly fd: number;
  /**
   * The upper bound of all times in the image, in seconds since 1970, and the image's own time; default 0.
   */
  readonly latestMtime?: number | undefined;
}

/** Writes a root file system as an EROFS image, on a thread of its own. Nothing is synced. */
export interface ErofsImage {
  /** Resolves at the end with the first 100 warnings, when all files of the root are closed. */
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
   * Settles at the end with the layers' DiffIDs (null where they are not hashed) and the first 100 warnings.
   * Refuses what extraction refuses, with the facts `member` and `layer`, which counts from 0.
   */
  readonly result: Promise<{
    readonly diffIds: readonly (string | null)[];
    readonly warnings: readonly LayerWarning[];
  }>;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

export interface LayerComparisonOptions {
  /** `overlay2/<cache-id>/diff`, absolute. */
  readonly diff: string;
  readonly tarSplit: string;
  readonly diffId: string;
  /** Reads the contents of files. Without it nothing is proven, and contents differ only by their size. */
  readonly contents: boolean;
  /** The layer is an upper of BuildKit, whose tar lacks some attributes, sockets and the root's metadata. */
  readonly ofUpper: boolean;
  /** Sets modes, owners, times and attributes as the tar has them, where the tar has the DiffID. */
  readonly mend: boolean;
}

export interface LayerDifference {
  /** `tree`: an entry is missing, additional, of another kind, or not linked as it should be. */
  readonly kind: 'content' | 'tree' | 'metadata';
  /** Relative to the layer's directory; empty for the directory itself. */
  readonly path: string;
  /** Continues a sentence that begins with the path. */
  readonly what: string;
  readonly mended: boolean;
}

export interface ComparedLayer {
  /** The rebuilt tar has the DiffID. */
  readonly proven: boolean;
  readonly digest: string;
  /** The first 100 of `count`. */
  readonly differences: readonly LayerDifference[];
  readonly count: number;
  /** So many of them are of metadata. */
  readonly metadata: number;
}

/** A layer being compared with its tar, on a thread of its own. Nothing is synced. */
export interface LayerComparison {
  /**
   * Rejects with ERR_STORE_CORRUPT for a damaged tar-split, with ERR_LAYER_* for headers that no layer has.
   */
  readonly result: Promise<ComparedLayer>;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

/**
 * How the kernel gets at the files of an index: themselves, or as loop devices that go away with the mount.
 */
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
   * The final target of a link, absolute in the root, whether or not it exists. A link that leads to itself
   * has itself as target.
   */
  readonly linkTarget?: string;
}

/** The peer of a unix connection, as the kernel knows it. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface SocketInfo {
  readonly family: 'unix' | 'inet' | 'inet6' | 'other';
  readonly stream: boolean;
  readonly listening: boolean;
  /** The socket is bound to an IP address that only this machine can reach. */
  readonly loopback: boolean;
}

/** The stat of an entry of the store, without following a link. */
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
  /** Null where it is missing, EINVAL where it is not a link. */
  readStoreLink(path: string): string | null;
  statStoreEntry(path: string): StoreEntry | null;
  listStoreDirectory(path: string): Promise<string[] | null>;
  /** The fd becomes the caller's. `flags` of open(2). */
  openStoreFile(path: string, flags: number, mode: number): number;

  // files_binding.cc
  /**
   * Does the steps in order on one native thread. It stops at the first failing step and undoes nothing; the
   * error's `step` names it. Links are not followed: a link in a path is ERR_STORE_CORRUPT with its path, and
   * `..` out of the root is EXDEV.
   */
  batch(root: string, steps: readonly BatchStep[]): Promise<void>;
  /** Takes flock(2) without waiting; false where another process holds it. Closing the fd releases it. */
  tryFlock(fd: number, exclusive: boolean): boolean;
  /**
   * Takes an OFD lock on one byte of the file, without waiting. Closing the fd releases it. `offset` < 2^53.
   */
  tryRangeLock(fd: number, offset: number, exclusive: boolean): boolean;
  /**
   * Opens or makes a lock file, and takes such a lock. Returns an fd, or null where another process holds it.
   */
  openRangeLock(path: string, offset: number, exclusive: boolean): number | null;
  getXattr(path: string, name: string): Promise<Uint8Array | null>;
  setXattr(path: string, name: string, value: Uint8Array): Promise<void>;
  listXattrs(path: string): Promise<string[]>;
  /** mknod(2); `mode` with the file type. A whiteout is `makeNode(path, S_IFCHR, 0, 0)`. */
  makeNode(path: string, mode: number, major: number, minor: number): Promise<void>;
  /**
   * Removes `path` below `root` and all below it, fd-relative, without following links or entering mounts
   * (EBUSY). A missing path is accepted. Resolves with the number of removed entries. Several paths are
   * removed one after the other.
   */
  removeTree(root: string, path: string | readonly string[]): Promise<number>;
  /**
   * Sums st_size over the unique inodes below the directory `path`, without directories: the value of
   * layerdb's `size` for a layer. Entries that vanish meanwhile do not count.
   */
  contentSize(path: string): Promise<number>;
  /**
   * Returns three numbers for each name in `directory`: inode, change time (milliseconds since 1970) and
   * st_size, without following links. They are NaN for a missing name, and for all names of a missing
   * directory.
   */
  stampFiles(directory: string, names: readonly string[]): Promise<Float64Array>;
  /** Reads a file inside a root file system, with links resolved inside it; null where it is missing. */
  readFileInRoot(root: string, path: string, maxBytes: number): Promise<Uint8Array | null>;
  /**
   * Writes `bytes`, but waits at most 25 ms for the reader of a pipe or socket, blocking or not. Resolves
   * with the number of written bytes: fewer where the reader is slower.
   */
  writeFd(fd: number, bytes: Uint8Array): Promise<number>;
  /**
   * Enlarges a pipe to at least 1 MiB, if the system allows it, so that both ends wake each other less often.
   */
  widenPipe(fd: number): void;

  // mounts_binding.cc
  mountOverlay(mount: OverlayMount): Promise<void>;
  /** Returns false where nothing is mounted. `detach`: MNT_DETACH. It never follows a link at `target`. */
  unmount(target: string, detach: boolean): Promise<boolean>;
  /** Returns whether `path` is a mount point, and whether its mount is an overlay. */
  mountState(path: string): Promise<'none' | 'overlay' | 'other'>;
  /** Probes everything in a scratch directory that it makes below `dir` and removes. */
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
  /** Recognises a compression by the first bytes (6 are enough). */
  sniffCompression(head: Uint8Array): Compression;
  Decoder: new (compression: 'gzip' | 'zstd') => Decoder;
  /** `diff`: the layer's own directory (absolute). Without `diffId` the digest is not checked. */
  LayerAssembler: new (diff: string, tarSplit: string, diffId?: string) => LayerAssembler;
  /** Returns the size of the layer tar in bytes, from its tar-split alone. */
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
   * Lists the changes of a container, sorted, as `docker diff` does: `A`, `C` or `D` and the path, each ended
   * by a NUL. `upper` and `lowers` (the init layer first) are relative to `root`. It walks the upper only,
   * and rejects with ERR_UPPER_UNSUPPORTED for redirect and metacopy entries.
   */
  listChanges(root: string, upper: string, lowers: readonly string[]): Promise<Uint8Array>;
  /** `latestMtime`: the upper bound of all times in the tar, in seconds since 1970 (SOURCE_DATE_EPOCH). */
  LayerTar: new (directory: string, latestMtime?: number, subtree?: TarSubtree) => LayerTar;

  // copy_binding.cc
  /** Stats `path` inside `root`. A link at its end is followed only where the path ends in `/` or `/.`. */
  statInRoot(root: string, path: string): Promise<RootPathStat>;
  TreeUnpack: new (options: TreeUnpackOptions) => TreeUnpack;

  // erofs_binding.cc
  ErofsImage: new (options: ErofsImageOptions) => ErofsImage;
  ErofsIndex: new (options: ErofsIndexOptions) => ErofsIndex;
  LayerComparison: new (options: LayerComparisonOptions) => LayerComparison;
  /**
   * Mounts an index, read-only. The fds may be closed then. ENOTBLK where `file` does not work with these
   * files.
   */
  mountErofs(mount: ErofsMount): Promise<void>;
  /** How indexes are mounted, tried with files without names in `dir`; null where they are not. */
  probeErofs(dir: string): Promise<ErofsMethod | null>;

  // socket_binding.cc
  /**
   * Makes a unix socket that listens at `path`, which must not exist (EADDRINUSE). Clients can connect only
   * after its mode and group are set. `gid` -1: the process's. The caller owns the fd. A failure leaves
   * nothing behind.
   */
  listenUnix(path: string, mode: number, gid: number, backlog: number): Promise<number>;
  /** SO_PEERCRED of a connected unix socket; null for any other. */
  peerCredentials(fd: number): PeerCredentials | null;
  /** Null where `fd` is not a socket. Throws EBADF where it is not open. */
  describeSocket(fd: number): SocketInfo | null;
  /**
   * Sends one datagram to a unix socket (`@name`: abstract) without waiting; false where its queue is full.
   */
  sendDatagram(address: string, message: string): boolean;
  /**
   * Sets the nice value of the calling thread, which runs JavaScript. Native threads keep theirs. Returns
   * false where the process may not do it.
   */
  preferThisThread(nice: number): boolean;
}

/**
 * The addon. Its first use loads it. Until then a caller can say where it is, and functions that do not use
 * it work without it. Afterwards it is the prototype of this object, so that calls need no look-up of ours.
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
 * Awaits a native promise. A rejection gets the caller's stack, and an input error becomes a
 * {@link LayerstackError} with its facts. System errors pass unchanged.
 */
export async function call<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw ownError(error, call);
  }
}

/** {@link call} for a synchronous native function. */
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
