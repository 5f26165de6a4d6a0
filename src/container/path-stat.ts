/**
 * The stat of a path in the form of Docker's archive API (`X-Docker-Container-Path-Stat`): the mode has the
 * bits of Go's `os.FileMode`, and the time is in RFC 3339.
 */
import { constants } from 'node:fs';
import { parseTime } from '../core/time.ts';
import type { RootPathStat } from '../system/native.ts';

export interface PathStat {
  /** The last component of the requested path; `/` for the root, `.` for a path that ends in `.`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Permissions in the lowest nine bits, and the bits of {@link GO_MODE}. */
  readonly mode: number;
  /** RFC 3339, UTC, up to nanoseconds. */
  readonly mtime: string;
  /**
   * For a link, its final target, as an absolute path of the container; the link's own path if it leads to
   * itself. Else empty.
   */
  readonly linkTarget: string;
}

/** Bits of Go's `os.FileMode` above the permissions. */
export const GO_MODE = {
  directory: 2 ** 31,
  symlink: 2 ** 27,
  device: 2 ** 26,
  namedPipe: 2 ** 25,
  socket: 2 ** 24,
  setuid: 2 ** 23,
  setgid: 2 ** 22,
  charDevice: 2 ** 21,
  sticky: 2 ** 20,
} as const;

const TYPES: ReadonlyMap<number, number> = new Map([
  [constants.S_IFDIR, GO_MODE.directory],
  [constants.S_IFLNK, GO_MODE.symlink],
  [constants.S_IFBLK, GO_MODE.device],
  [constants.S_IFCHR, GO_MODE.device + GO_MODE.charDevice],
  [constants.S_IFIFO, GO_MODE.namedPipe],
  [constants.S_IFSOCK, GO_MODE.socket],
]);

/** Returns the document for a stat of the path with the name `name`. */
export function pathStat(name: string, stat: RootPathStat): PathStat {
  const fraction = String(stat.mtimeNanoseconds).padStart(9, '0');
  const time = new Date(stat.mtimeSeconds * 1000).toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
  return {
    name,
    size: stat.size,
    mode: goMode(stat.mode),
    mtime: parseTime(time)?.text ?? time,
    linkTarget: stat.linkTarget ?? '',
  };
}

/** Converts a mode of stat(2) to Go's bits. */
export function goMode(mode: number): number {
  return (
    (mode & 0o777) +
    (TYPES.get(mode & constants.S_IFMT) ?? 0) +
    (mode & 0o4000 ? GO_MODE.setuid : 0) +
    (mode & 0o2000 ? GO_MODE.setgid : 0) +
    (mode & 0o1000 ? GO_MODE.sticky : 0)
  );
}

/** Returns whether a {@link PathStat.mode} has a bit of {@link GO_MODE}. */
export function hasMode(mode: number, bit: keyof typeof GO_MODE): boolean {
  // Bit 31 is the sign of JavaScript's 32-bit operations.
  return Math.floor(mode / GO_MODE[bit]) % 2 === 1;
}
