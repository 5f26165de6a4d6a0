/**
 * Writes a root file system as an ext4 image, by `mke2fs -d`. mke2fs copies the tree in the order of its
 * directories, with access and change times, and these differ from store to store. So it copies a tree that
 * has none of this: the EROFS image of the root file system, in a file without a name, mounted at no path.
 * A kill leaves neither.
 *
 * mke2fs leaves out the mode, owner and time of the root directory. `debugfs`, of the same package, sets
 * them.
 */
import { close, constants } from 'node:fs';
import { open, readlink, stat, statfs, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { isSystemError, LayerstackError } from '../../core/errors.ts';
import { call, native } from '../../system/native.ts';
import { findProgram, runProgram, type ProgramEnd, type ProgramOptions } from '../../system/programs.ts';
import { writeErofs, type DiskTree, type ErofsDiskOptions } from './erofs-disk.ts';

/** All from e2fsprogs. */
export const EXT4_PROGRAMS = ['mke2fs', 'debugfs'] as const;

export interface Ext4DiskOptions extends ErofsDiskOptions {
  /** Bytes of the file system; default: what the contents need. */
  readonly size?: number | undefined;
}

const BLOCK = 4096;
const MIB = 1 << 20;
/** In nanoseconds. */
const SECOND = 1_000_000_000n;

/** Those of mke2fs 1.47 by default, named since each host has its own defaults in /etc/mke2fs.conf. */
const FEATURES =
  'has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,' +
  'huge_file,dir_nlink,extra_isize,metadata_csum';

/** Node does not have it. The kernel's value (include/uapi/asm-generic/fcntl.h). */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

const closeFd = promisify(close);

/**
 * Writes to an empty regular file; nothing is synced. The same root file system, id and mke2fs give the same
 * bytes. The directory of the file has room for the contents twice meanwhile.
 * @param id the object's, in hex: the file system's UUID is made of it
 * @throws {@link LayerstackError} ERR_UNSUPPORTED where a program is missing, or the kernel cannot mount
 *   EROFS; ERR_INVALID_ARGUMENT for a size that is too small; ERR_NO_SPACE; ERR_SYSTEM with the message
 *   of mke2fs; the errors of {@link writeErofs}.
 */
export async function writeExt4(
  fd: number,
  tree: DiskTree,
  id: string,
  options: Ext4DiskOptions,
): Promise<void> {
  const [mke2fs, debugfs] = EXT4_PROGRAMS.map(requireProgram) as [string, string];
  const content = await openUnnamed(dirname(await readlink(`/proc/self/fd/${fd}`)));
  try {
    await writeErofs(content.fd, tree, { ...options, narrowTimes: true });
    const root = await openErofs(content.fd);
    try {
      const job = { fd, root, env: environment(options), signal: options.signal };
      await makeFileSystem(mke2fs, job, id, options.size);
      await describeRoot(debugfs, job);
    } finally {
      await closeFd(root);
    }
  } finally {
    await content.close();
  }
}

function requireProgram(name: string): string {
  const path = findProgram(name);
  if (path !== undefined) return path;
  throw new LayerstackError(
    'ERR_UNSUPPORTED',
    `an ext4 image is made by ${name}, which is not installed: install e2fsprogs (\`layerstack doctor\` shows what is missing)`,
    { key: 'format' },
  );
}

async function openUnnamed(directory: string): Promise<FileHandle> {
  try {
    return await open(directory, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch (error) {
    if (!isSystemError(error, 'EOPNOTSUPP', 'EISDIR', 'ENOENT')) throw error;
    throw new LayerstackError(
      'ERR_UNSUPPORTED',
      `${directory} cannot hold files without names (O_TMPFILE): write to a directory on ext4, xfs, btrfs or tmpfs`,
      { path: directory, cause: error },
    );
  }
}

async function openErofs(fd: number): Promise<number> {
  const files = { fd, devices: [] };
  try {
    return await call(native.openErofs({ ...files, method: 'file' }));
  } catch {
    // Before Linux 6.12, and of some file systems (tmpfs).
    return call(native.openErofs({ ...files, method: 'loop' })).catch((error: unknown) => {
      throw new LayerstackError(
        'ERR_UNSUPPORTED',
        'this kernel cannot mount EROFS, from which an ext4 image is made: load the module (modprobe erofs)',
        { cause: error },
      );
    });
  }
}

interface Job {
  /** The image. */
  readonly fd: number;
  /** The mounted tree. */
  readonly root: number;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal | undefined;
}

/** All times of the file system itself; 0 would mean now. Times of files are bounded in the tree. */
function environment({ sourceDateEpoch = 0 }: Ext4DiskOptions): Record<string, string> {
  return {
    E2FSPROGS_FAKE_TIME: String(Math.max(1, sourceDateEpoch)),
    MKE2FS_CONFIG: '/dev/null',
    LC_ALL: 'C',
  };
}

/** What the programs call the fds of {@link Job}. */
const ROOT = '/proc/self/fd/3';
const IMAGE = '/proc/self/fd/4';

function runOn(program: string, args: readonly string[], job: Job, input = ''): Promise<ProgramEnd> {
  const options: ProgramOptions = { env: job.env, fds: [job.root, job.fd], input, signal: job.signal };
  return runProgram(program, args, options);
}

async function makeFileSystem(
  mke2fs: string,
  job: Job,
  id: string,
  wanted: number | undefined,
): Promise<void> {
  const { blocks, files, ffree } = await statfs(`/proc/self/fd/${job.root}/.`, { bigint: true });
  const entries = Number(files - ffree);
  const size = wanted ?? sizeFor(Number(blocks) * BLOCK, entries);
  const inodes = entries + Math.max(1024, Math.floor(size / 16384));
  const uuid = uuidOf(id);
  const args = [
    ...['-q', '-F', '-b', String(BLOCK), '-I', '256', '-m', '0', '-O', `none,${FEATURES}`],
    ...['-N', String(inodes), '-J', `size=${journalFor(size)}`, '-U', uuid],
    ...['-E', `hash_seed=${uuid},lazy_itable_init=0,lazy_journal_init=0,nodiscard`],
    ...['-d', ROOT, IMAGE, String(Math.floor(size / BLOCK))],
  ];
  const { status, errors } = await runOn(mke2fs, args, job);
  if (status !== 0) throw failure('mke2fs', errors, wanted);
}

/** In MiB. */
function journalFor(size: number): number {
  return Math.min(64, Math.max(4, Math.floor(size / 64 / MIB)));
}

/**
 * Returns enough bytes for a tree. An entry takes a block more than in EROFS at most (of a small directory, a
 * long link, attributes) and an inode. The rest: more inodes, the journal, bitmaps, group descriptors.
 */
function sizeFor(bytes: number, entries: number): number {
  const needed = bytes + entries * (BLOCK + 256) + 8 * MIB;
  return Math.ceil((needed * 1.06) / MIB) * MIB;
}

/** Returns a UUID of version 8 (RFC 9562: made in a way of one's own). */
function uuidOf(id: string): string {
  const hex = id.replace(/^sha256:/, '');
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

async function describeRoot(debugfs: string, job: Job): Promise<void> {
  const root = await stat(`/proc/self/fd/${job.root}/.`, { bigint: true });
  const beyond = ((root.mtimeNs % SECOND) + SECOND) % SECOND;
  const seconds = (root.mtimeNs - beyond) / SECOND;
  const fields = {
    mode: `0${root.mode.toString(8)}`,
    uid: String(root.uid),
    gid: String(root.gid),
    ...{ atime: `@${seconds}`, ctime: `@${seconds}`, mtime: `@${seconds}` },
  };
  const lines = Object.entries(fields).map(([field, value]) => `set_inode_field <2> ${field} ${value}\n`);
  const { status, errors } = await runOn(debugfs, ['-w', IMAGE], job, lines.join(''));
  // It ends with 0 after an error too. Its first line is its name and version.
  const said = errors.replace(/^debugfs .*\n/, '');
  if (status !== 0 || said !== '') throw failure('debugfs', said, undefined);
}

function failure(program: string, errors: string, size: number | undefined): LayerstackError {
  const said = errors
    .replace(/^Warning: .*$/gm, '')
    .trim()
    .replace(/\s*\n\s*/g, '; ')
    .slice(0, 1000);
  if (/No space left on device/.test(said))
    return new LayerstackError('ERR_NO_SPACE', `no space left for the ext4 image (${said})`);
  if (size !== undefined && /could not allocate|too small|too big|not enough|out of/i.test(said))
    return new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `an ext4 file system of ${size} bytes does not hold this root file system: give a larger size, or none (${said})`,
    );
  return new LayerstackError('ERR_SYSTEM', `${program} cannot write the ext4 image: ${said}`);
}
