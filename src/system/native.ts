/**
 * Loads the native addon (addon.ts) and gives it types. All access to the addon goes through this file. Every
 * promise-returning function runs on native threads, never on the event loop or on libuv's pool. It rejects
 * with a system error in Node's shape, or with an Error whose `code` is one of `ERROR_KINDS`; `call` gives
 * both the caller's stack. Paths named `root` are absolute. Other paths are relative to it, and are resolved
 * below it without following a link out of it (native/sys/resolve).
 */
import type { Digest } from '../core/digest.ts';
import { ERROR_KINDS, isError, LayerstackError, type ErrorCode, type ErrorFacts } from '../core/errors.ts';
import { loadAddon } from './addon.ts';

/** One step of {@link Native.batch}. Modes are exact, whatever the process's umask. */
export type BatchStep =
  /** `exist`: accepts an existing directory, which stays as it is. */
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
  /**
   * Exchanges both atomically. On a file system that cannot, it renames `to` to `via` first, then `from` to
   * `to`; without `via` it fails with EINVAL.
   */
  | { readonly op: 'exchange'; readonly from: string; readonly to: string; readonly via?: string }
  /** `missing`: ENOENT is accepted. */
  | { readonly op: 'unlink'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'rmdir'; readonly path: string; readonly missing?: boolean }
  | { readonly op: 'chown'; readonly path: string; readonly uid: number; readonly gid: number }
  /** fsync of a file or directory. */
  | { readonly op: 'fsync'; readonly path: string }
  /** syncfs of the file system that holds `path`: data and metadata of everything written so far. */
  | { readonly op: 'syncfs'; readonly path: string }
  /** Does two independent batches, on two threads if possible. */
  | { readonly op: 'together'; readonly first: readonly BatchStep[]; readonly second: readonly BatchStep[] }
  /** As {@link Native.removeTree}. */
  | { readonly op: 'removeTree'; readonly path: string }
  /** As {@link Native.mountOverlay}. */
  | { readonly op: 'mount'; readonly mount: OverlayMount }
  /** As {@link Native.unmount}. Accepts a path where nothing is mounted. */
  | { readonly op: 'unmount'; readonly target: string; readonly detach: boolean }
  /** As an unmount with `detach`, but the file system ends on another thread: an overlay's end syncs. */
  | { readonly op: 'unmountBehind'; readonly target: string }
  /**
   * Makes the mount at `target` read-only or writable, but not other mounts of its file system. Fails with
   * EBUSY where files are open for writing through it.
   */
  | { readonly op: 'mountReadOnly'; readonly target: string; readonly readOnly: boolean }
  /**
   * Makes the file system at `target` read-only, in all its mounts. Fails with EBUSY where files of it are
   * open for writing, or are open without a name.
   */
  | { readonly op: 'fileSystemReadOnly'; readonly target: string }
  /**
   * Makes the directory `to` a copy of the upper `from`, which may change meanwhile; both are relative to
   * `root`, which is absolute. Fails with ERR_CONTAINER_BUSY where entries are made, moved or removed during
   * each of several attempts.
   */
  | { readonly op: 'copyUpper'; readonly root: string; readonly from: string; readonly to: string }
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
    }
  /**
   * Makes the directory `to`, empty, with the owner, mode, attributes and times of the directory `from`. Both
   * are relative to `root`, which is absolute; `from` may be a short name.
   */
  | { readonly op: 'emptyCopy'; readonly root: string; readonly from: string; readonly to: string }
  /**
   * Merges sealed uppers into the new upper `to` by hard links of their files. It is for a place above
   * `lowers`. Both lists are topmost first, and relative to `root`, which is absolute. Rejects with
   * ERR_UPPER_UNSUPPORTED as {@link Native.listChanges} does.
   */
  | {
      readonly op: 'mergeUppers';
      readonly root: string;
      readonly uppers: readonly string[];
      readonly lowers: readonly string[];
      readonly to: string;
    };

/** How an overlay is mounted. system/caps.ts chooses it. */
export type MountMethod = 'fsconfig' | 'mount' | 'flat';

export interface OverlayMount {
  /** The store's `overlay2` directory; lowers, upper and work are relative to it. */
  readonly root: string;
  /** Where to mount: absolute. */
  readonly target: string;
  /** Topmost first, e.g. `l/ABC…`. */
  readonly lowers: readonly string[];
  /** A file that has the short names of the lowers, relative to `root`. `lowers` is empty then. */
  readonly lowerFile?: string;
  readonly upper?: string;
  readonly work?: string;
  readonly readOnly?: boolean;
  readonly method: MountMethod;
  /** Extra options, e.g. `index=off`. */
  readonly options: readonly string[];
}

/** The other users of a mount's file system. Each list has an upper bound. */
export interface MountUses {
  /** Other mounts of it. */
  readonly others: readonly {
    /** A process in the namespace of the mount. */
    readonly pid: number;
    readonly command: string;
    /** As that namespace has it. */
    readonly path: string;
    /** In the mount namespace of this process. */
    readonly own: boolean;
    /** At the same path in another namespace: the removal of the mount point ends it too (Linux 3.18). */
    readonly copy: boolean;
  }[];
  /** Mounts below it. */
  readonly below: readonly string[];
  readonly users: readonly MountUser[];
}

/** A process that uses a mount. */
export interface MountUser {
  readonly pid: number;
  readonly command: string;
  /** By its root or working directory, or by open files. The strongest use. */
  readonly how: 'root' | 'directory' | 'reads' | 'writes';
  /** In the mount namespace of this process. */
  readonly own: boolean;
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

/** The gzip encoder. libdeflate writes a stream of many members, zlib a stream of one. */
export type GzipEncoder = 'libdeflate' | 'zlib';

/** Bounds of one layer. All of them are checked while the layer is read. */
export interface LayerLimits {
  /** Uncompressed bytes of the layer tar. Holes of sparse members count as zeros. */
  readonly maxBytes: number;
  readonly maxEntries: number;
  readonly maxPathBytes: number;
  /** All PAX records of one member together, xattrs included. */
  readonly maxPaxBytes: number;
}

/**
 * What becomes of a layer: an existing empty directory receives its files, and a new file the gzipped
 * tar-split; or two new files receive its tar and an EROFS index over it. All paths are absolute.
 */
export type LayerTarget =
  { readonly diff: string; readonly tarSplit: string } | { readonly tar: string; readonly index: string };

/** The files of which a layer's tar is made: as a whole, or by its directory and tar-split. Absolute. */
export type TarFiles = { readonly tar: string } | { readonly diff: string; readonly tarSplit: string };

export type LayerApplyOptions = LayerTarget & {
  /**
   * A range of an open file, which stays the caller's, or a directory that is packed as by {@link LayerTar}.
   * Without a source, the caller pushes the bytes with `write` and `end`.
   */
  readonly source?:
    | { readonly fd: number; readonly offset: number; readonly size: number }
    | {
        readonly directory: string;
        readonly kind: DirectoryKind;
        readonly latestMtime?: number | undefined;
      };
  readonly limits: LayerLimits;
};

/**
 * The kind of a directory that becomes a layer. `upper`: an upper of overlayfs, whose marks become those of
 * the layer. `plain`: any other directory. Entries that would count as marks in a layer (names that begin
 * with `.wh.`, character devices 0:0) are left out.
 */
export type DirectoryKind = 'upper' | 'plain';

export interface LayerWarning {
  readonly code: string;
  readonly member: string;
  readonly message: string;
}

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

export interface LayerApplied {
  /** Of the uncompressed tar, trailing bytes included. */
  readonly diffId: Digest;
  /** `sha256:` + hex of the bytes as they came. */
  readonly blobDigest: string;
  readonly blobSize: number;
  readonly tarSize: number;
  readonly compression: Compression;
  readonly entries: number;
  /** The value of layerdb's `size` file: the sum of st_size over unique inodes that are not directories. */
  readonly contentSize: number;
  /** The bytes of holes in sparse members, which are not in the tar. They count against `maxBytes`. */
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
   * Takes input (`null`: its end, `undefined`: continue with the input so far), and returns at most 256 KiB
   * of output. `more`: call again with `undefined` before you pass more input.
   */
  decode(input: Uint8Array | null | undefined): Promise<{ chunk: Uint8Array; more: boolean }>;
}

/** Reads a layer tar, or rebuilds it from its directory and tar-split. */
export interface LayerAssembler {
  /**
   * Returns the next bytes (up to 256 KiB), or null at the end. Rejects with ERR_STORE_CORRUPT and `member`
   * where a file has changed. Where the digest differs from the DiffID, rejects with it instead of returning
   * the end. A thread may still hash the returned bytes, so the caller must not write to them.
   */
  read(): Promise<Uint8Array | null>;
  /**
   * Writes the next bytes (about 8 MiB) to an open file, without copying them to JavaScript. Writes fewer
   * bytes where the reader of a pipe makes it wait for 25 ms. Rejects as `read` and write(2) do, and with
   * ERR_ABORTED after the end. Do not mix it with `read`.
   */
  writeTo(fd: number): Promise<{ readonly bytes: number; readonly ended: boolean }>;
  close(): void;
}

/** A layer's tar, rebuilt, verified and compressed on all processors. */
export interface LayerCompressor {
  /**
   * Returns the next bytes, and the number of bytes of the tar that they encode. The last result has the
   * digest of all bytes. After it, and after `close`, results have neither bytes nor a digest. Do not call it
   * again before it settles. Rejects as {@link LayerAssembler.read}.
   */
  read(): Promise<{ readonly chunk: Uint8Array; readonly tarBytes: number; readonly digest?: string }>;
  /** Stops within milliseconds, and ends a running read. */
  close(): void;
}

/** The layer tar of an upper directory, or the tar of a merged view. */
export interface LayerTar {
  /**
   * Returns the next bytes (up to 256 KiB; null at the end) and the warnings since the last read. Rejects
   * with ERR_UPPER_CHANGED and `member` where a file shrinks while it is read, and with ERR_UPPER_UNSUPPORTED
   * as `listChanges` does.
   */
  read(): Promise<{ readonly chunk: Uint8Array | null; readonly warnings: readonly LayerWarning[] }>;
  /**
   * Resolves when all files of the directory are closed and running reads have ended. Reads then return the
   * end.
   */
  close(): Promise<void>;
}

/** The part of a directory that a {@link LayerTar} packs, as `docker cp` does, without overlayfs's marks. */
export interface TarSubtree {
  /**
   * Links in it are resolved inside the directory. A link at its end is followed only where the path ends in
   * `/` or `/.`.
   */
  readonly path: string;
  /** The name of the top member; empty: every name begins with `/`. */
  readonly name: string;
  /** Includes mounts inside the directory. */
  readonly crossMounts: boolean;
  /**
   * Writes every file with holes as a sparse member, for readers that keep holes. By default only a file with
   * very many zeros is one.
   */
  readonly sparse: boolean;
}

export interface TreeUnpackOptions {
  /** Absolute. Links cannot lead out of it. */
  readonly root: string;
  /** An existing directory below it. */
  readonly directory: string;
  /** Refuses (ERR_PATH_TYPE) to replace a directory by something else, and the other way round. */
  readonly keepKinds: boolean;
  /** Bound of the tar's bytes, including holes of sparse members: ERR_LIMIT_EXCEEDED. */
  readonly maxBytes: number;
  /**
   * The owner of all entries: that in the tar, the user of this process (then without set-id bits), or this
   * user.
   */
  readonly owner: 'archive' | 'caller' | { readonly uid: number; readonly gid: number };
}

/** Extracts an uncompressed tar into an existing tree, on a thread of its own. */
export interface TreeUnpack {
  /** Resolves at the end with the first 100 warnings. After a rejection, extracted files stay. */
  readonly result: Promise<readonly LayerWarning[]>;
  /** Takes a copy of `chunk`; resolves when there is room for another. Rejects as `result` does. */
  write(chunk: Uint8Array): Promise<void>;
  /** No more bytes will come. */
  end(): void;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

export interface TreeCopyOptions {
  /** Absolute. Links cannot lead out of it. */
  readonly root: string;
  /** Clean paths below it, links followed; '' is the root. */
  readonly sources: readonly (string | Uint8Array)[];
  /** What each source is called in the target, if it is not the content of a directory. */
  readonly names: readonly (string | Uint8Array)[];
  /** Of a .dockerignore: patterns of paths below `root`; `!` takes back in. The last match decides. */
  readonly rules: readonly string[];
  /** The same for the names of files, and for the paths in a source directory. */
  readonly excludes: readonly string[];
  /** Copies a directory under its name, not only its content. */
  readonly keepNames: boolean;
  /** Extracts a source that is a tar, plain or compressed. */
  readonly extract: boolean;
  /** Of everything that is not extracted. Default: as in the source. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /** Of files and directories that are not extracted. Default: as in the source. */
  readonly mode?: number | undefined;
}

export interface TreeCopyTarget {
  /** Absolute. Links cannot lead out of it. */
  readonly root: string;
  /** Missing directories are made. */
  readonly path: string;
  /** Files go into a directory at `path`, also if it does not exist yet. */
  readonly directory: boolean;
}

/** Copies from one root into another, on a thread of its own. Nothing is synced. */
export interface TreeCopy {
  readonly result: Promise<{
    /** SHA-256 in hex of what is copied: names, kinds, modes, owners, attributes, contents; no times. */
    readonly digest: string;
    readonly members: number;
    readonly warnings: readonly LayerWarning[];
  }>;
  /** Stops within milliseconds; `result` rejects with ERR_ABORTED. No-op once settled. */
  abort(): void;
}

export interface ErofsImageOptions {
  /**
   * An absolute directory: the root itself, or, with `lowers` (topmost first), the directory that they are
   * in.
   */
  readonly root: string;
  readonly lowers: readonly string[];
  /** The fd of an empty regular file. The caller may close it meanwhile. */
  readonly fd: number;
  /**
   * The latest time that a file in the image gets, and the time of the image itself, in seconds since 1970.
   * Default for the image: 0.
   */
  readonly latestMtime?: number | undefined;
  /** The time of the root directory, in seconds since 1970. Default: the directory's own. */
  readonly rootMtime?: number | undefined;
  /** Whether a time outside 32 bits (before 1901, after 2038) becomes the nearest that fits. */
  readonly narrowTimes: boolean;
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
  /** Files with uncompressed tars. `tag` identifies the file in the index, in at most 64 bytes. */
  readonly devices: readonly { readonly fd: number; readonly size: number; readonly tag: string }[];
  /**
   * The layers, lowest first; `device` counts from 0. The index shows the same tree as an overlay of them.
   */
  readonly layers: readonly { readonly device: number; readonly offset: number; readonly size: number }[];
  /** Reads and hashes all bytes. Otherwise it reads only the headers. */
  readonly hashed: boolean;
  /** False: the index of one layer, which keeps its whiteouts for an overlay. Default true. */
  readonly whole?: boolean;
  readonly limits: LayerLimits;
}

/** Writes an EROFS index over tars, on threads of its own. Nothing is synced. */
export interface ErofsIndex {
  /**
   * Resolves at the end with the layers' DiffIDs (null where they are not hashed) and the first 100 warnings.
   * Refuses the same tars as extraction does, with the facts `member` and `layer`, which counts from 0.
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
  /**
   * Reads the contents of files. Without it nothing is proven, contents differ only by their size, and
   * neither metadata nor whiteouts are compared.
   */
  readonly contents: boolean;
  /** Stops at the first difference that is not of metadata. */
  readonly stopEarly: boolean;
  /** The owners are those of the tar plus these. */
  readonly firstUid: number;
  readonly firstGid: number;
  /** The layer is an upper of BuildKit, whose tar lacks some attributes, sockets and the root's metadata. */
  readonly ofUpper: boolean;
  /** Sets modes, owners, times and attributes as the tar has them, where the tar has the DiffID. */
  readonly setMetadata: boolean;
  /** The most bytes of the tar that are read in a second; 0 for no bound. */
  readonly rate: number;
}

export interface LayerDifference {
  /** `tree`: an entry is missing, additional, of another kind, or not linked as it should be. */
  readonly kind: 'content' | 'tree' | 'metadata';
  /** Relative to the layer's directory; empty for the directory itself. */
  readonly path: string;
  /** Continues a sentence that begins with the path. */
  readonly what: string;
  readonly repaired: boolean;
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

/** How the kernel reads the files of an index: directly, or by loop devices that end with the mount. */
export type ErofsMethod = 'file' | 'loop';

export interface ErofsFiles {
  /** Of the index, or of an image with all contents. */
  readonly fd: number;
  /** As the index was written over. */
  readonly devices: readonly number[];
  readonly method: ErofsMethod;
}

export interface ErofsMount extends ErofsFiles {
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
   * The final target of a link, absolute in the root, whether or not it exists. For a link that leads to
   * itself this is its own path.
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
  readonly gid: number;
  readonly dev: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

export interface Native {
  // store_binding.cc: takes absolute paths of which no part is a link. Only system/store-files.ts calls it.
  /**
   * Null for a missing file. Rejects with ERR_STORE_CORRUPT for a link, fifo, socket or device, and for too
   * many bytes; with EISDIR for a directory.
   */
  readStoreFiles(paths: readonly string[], maxBytes: number): Promise<(Buffer | null)[]>;
  readStoreFileSync(path: string, maxBytes: number): Buffer | null;
  /** Returns null where it is missing. Throws EINVAL where it is not a link. */
  readStoreLink(path: string): string | null;
  statStoreEntry(path: string): StoreEntry | null;
  listStoreDirectory(path: string): Promise<string[] | null>;
  /** The fd becomes the caller's. `flags` of open(2). */
  openStoreFile(path: string, flags: number, mode: number): number;

  // files_binding.cc
  /**
   * Does the steps in order on one native thread. It stops at the first step that fails, which the error's
   * `step` names, and undoes nothing. Links are not followed: a link in a path is ERR_STORE_CORRUPT with its
   * path, and `..` out of the root is EXDEV.
   */
  batch(root: string, steps: readonly BatchStep[]): Promise<void>;
  /**
   * Takes flock(2) without waiting. Returns false where another process holds it. Closing the fd releases it.
   */
  tryFlock(fd: number, exclusive: boolean): boolean;
  /**
   * Takes an OFD lock on one byte of the file, without waiting. Closing the fd releases it. `offset` < 2^53.
   */
  tryRangeLock(fd: number, offset: number, exclusive: boolean): boolean;
  /**
   * Does {@link tryRangeLock}, and then checks that `path` still names the file. Returns null where it does
   * not; then the lock is not held.
   */
  tryNamedRangeLock(fd: number, path: string, offset: number, exclusive: boolean): boolean | null;
  /** Releases the lock of one byte. */
  releaseRangeLock(fd: number, offset: number): void;
  /**
   * pipe2(2): the end to read from and the end to write to, which become the caller's. Programs do not
   * inherit them unless they are passed.
   */
  makePipe(): readonly [read: number, write: number];
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
  /** Enlarges a pipe to at least 1 MiB, if the system allows it, so that its two ends wait less often. */
  widenPipe(fd: number): void;

  // mounts_binding.cc
  mountOverlay(mount: OverlayMount): Promise<void>;
  /** Returns false where nothing is mounted. `detach`: MNT_DETACH. It never follows a link at `target`. */
  unmount(target: string, detach: boolean): Promise<boolean>;
  /** Returns whether `path` is a mount point, and whether its mount is an overlay. */
  mountState(path: string): Promise<'none' | 'overlay' | 'other'>;
  /**
   * Finds other users of the mount at `target`, by reading /proc. `everyone`: looks at all processes, which
   * takes some 10 µs for each open file. Otherwise it looks only at those in other namespaces that have the
   * mount.
   */
  mountUses(target: string, everyone: boolean): Promise<MountUses>;
  /** Probes everything in a scratch directory that it makes below `dir` and removes. */
  probe(dir: string): Promise<Probe>;
  /**
   * Fills the upper of an init layer as dockerd does (docs/docker-overlay2-store.md, "Init layer"). It reads
   * the image's layers without mounting them. `lowers` (topmost first) and `upper` are relative to `root`.
   */
  populateInit(root: string, lowers: readonly string[], upper: string): Promise<void>;
  /**
   * Merges `lowers` (topmost first) into the new directory `target` by hard links. It obeys whiteouts and
   * opaque directories.
   */
  flatten(root: string, lowers: readonly string[], target: string): Promise<void>;

  // codec_binding.cc
  /** Recognises a compression by the first bytes (6 are enough). */
  sniffCompression(head: Uint8Array): Compression;
  Decoder: new (compression: 'gzip' | 'zstd') => Decoder;
  /** Without `diffId` the digest is not checked. */
  LayerAssembler: new (files: TarFiles, diffId?: string) => LayerAssembler;
  /** Returns the size of the layer tar in bytes, from its tar-split alone. */
  layerTarSize(tarSplit: string): Promise<number>;

  // compress_binding.cc
  /**
   * The first read rejects with ERR_COMPRESSION_UNSUPPORTED, or with ERR_INVALID_ARGUMENT for an invalid
   * level. Level 0 is the default.
   */
  LayerCompressor: new (
    options: TarFiles & {
      readonly diffId: string;
      readonly compression: 'gzip' | 'zstd';
      readonly gzip: GzipEncoder;
      readonly level: number;
    },
  ) => LayerCompressor;

  // layer_binding.cc
  LayerApply: new (options: LayerApplyOptions) => LayerApply;
  /** Lists the members of an uncompressed tar by reading its headers only. At most `maxMembers`. */
  indexArchive(fd: number, maxMembers: number): Promise<ArchiveMember[]>;

  // diff_binding.cc
  /**
   * Lists the changes of a container, sorted, as `docker diff` does: `A`, `C` or `D` and the path, each ended
   * by a NUL. `upper` and `lowers` (the init layer first) are relative to `root`; a lower may be absolute
   * (`/proc/self/fd/N/.`). `sealed` are the sealed uppers between them, topmost first. It walks the uppers
   * only, and rejects with ERR_UPPER_UNSUPPORTED for redirect and metacopy entries.
   */
  listChanges(
    root: string,
    upper: string,
    lowers: readonly string[],
    sealed?: readonly string[],
  ): Promise<Uint8Array>;
  /**
   * Lists the changes from the stack `before` to the stack `after`, both above `lowers`, as
   * {@link listChanges}. All are topmost first, and relative to `root`.
   */
  compareStacks(
    root: string,
    before: readonly string[],
    after: readonly string[],
    lowers: readonly string[],
  ): Promise<Uint8Array>;
  /** `latestMtime`: later times in the tar become this one, in seconds since 1970 (SOURCE_DATE_EPOCH). */
  LayerTar: new (directory: string, latestMtime?: number, subtree?: TarSubtree) => LayerTar;

  // copy_binding.cc
  /** Stats `path` inside `root`. A link at its end is followed only where the path ends in `/` or `/.`. */
  statInRoot(root: string, path: string): Promise<RootPathStat>;
  TreeUnpack: new (options: TreeUnpackOptions) => TreeUnpack;
  /**
   * Without a target, only takes the digest. Rejects with the path of a source (ENOENT also for one that the
   * rules exclude) or of the target, and as {@link TreeUnpack} does.
   */
  TreeCopy: new (options: TreeCopyOptions, target?: TreeCopyTarget) => TreeCopy;
  /** Returns the paths below `root` that match a pattern and are not excluded by rules, sorted. */
  matchPaths(root: string, pattern: string, rules: readonly string[]): Promise<readonly Uint8Array[]>;

  // erofs_binding.cc
  ErofsImage: new (options: ErofsImageOptions) => ErofsImage;
  ErofsIndex: new (options: ErofsIndexOptions) => ErofsIndex;
  LayerComparison: new (options: LayerComparisonOptions) => LayerComparison;
  /**
   * Mounts an index, read-only. Afterwards the fds may be closed. Rejects with ENOTBLK where the method
   * `file` does not work with these files.
   */
  mountErofs(mount: ErofsMount): Promise<void>;
  /**
   * As {@link mountErofs}, but attached to no path: `/proc/self/fd/N/.` is the root. The mount ends with the
   * fd, which the caller owns.
   */
  openErofs(files: ErofsFiles): Promise<number>;
  /** Tries with files without names in `dir` how indexes can be mounted; null where they cannot. */
  probeErofs(dir: string): Promise<ErofsMethod | null>;

  // socket_binding.cc
  /**
   * Makes a unix socket that listens at `path`, which must not exist (EADDRINUSE). Clients can connect only
   * after its mode and group are set. `gid` -1: the process's. The caller owns the fd. A failure leaves
   * nothing behind.
   */
  listenUnix(path: string, mode: number, gid: number, backlog: number): Promise<number>;
  /** Returns SO_PEERCRED of a connected unix socket, or null for any other socket. */
  peerCredentials(fd: number): PeerCredentials | null;
  /** Returns null where `fd` is not a socket. Throws EBADF where it is not open. */
  describeSocket(fd: number): SocketInfo | null;
  /**
   * Sends one datagram to a unix socket (`@name`: an abstract one), without waiting. Returns false where its
   * queue is full.
   */
  sendDatagram(address: string, message: string): boolean;
  /**
   * Sets the nice value of the calling thread, which runs JavaScript. Native threads keep theirs. Returns
   * false where the process may not do it.
   */
  preferThisThread(nice: number): boolean;
}

/**
 * The addon. Its first use loads it, so a caller can name its file before that, and functions that do not use
 * it work without it. Once loaded, it is the prototype of this object, so calls go to it directly.
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
