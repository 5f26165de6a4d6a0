/**
 * A file system on a disk that remembers its writes and flushes (disk.c), and the disks that power cuts could
 * leave of it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from '../../support/process.ts';
import type { Random } from '../../support/random.ts';
import { dropScratch, makeScratch, unmountBelow } from '../../support/scratch.ts';

const SOURCE = fileURLToPath(new URL('disk.c', import.meta.url));
const HEAD = 16;
const FLUSH = 2n ** 64n - 1n;

const MIB = 1024 ** 2;
/**
 * The sizes are the smallest that the programs take, or somewhat more. A disk writes whole sectors. btrfs needs
 * sectors of 4 KiB: it does not mount with a torn superblock.
 */
const FILE_SYSTEMS = {
  ext4: { size: 96 * MIB, mkfs: ['mkfs.ext4', '-q', '-F'], mount: 'loop', sector: 512 },
  xfs: { size: 320 * MIB, mkfs: ['mkfs.xfs', '-q', '-f'], mount: 'loop,nouuid', sector: 512 },
  btrfs: { size: 256 * MIB, mkfs: ['mkfs.btrfs', '-q', '-f'], mount: 'loop', sector: 4096 },
} as const;
export type FileSystem = keyof typeof FILE_SYSTEMS;

interface Write {
  readonly offset: number;
  readonly data: Buffer;
}

/** A moment in the log of a disk: the number of bytes that the log had. */
export type Moment = number;

export class RecordedDisk {
  readonly type: FileSystem;
  /** Where the file system is mounted. */
  readonly path: string;
  readonly #scratch: string;
  readonly #server: ChildProcess;

  private constructor(type: FileSystem, scratch: string, server: ChildProcess) {
    this.type = type;
    this.#scratch = scratch;
    this.path = join(scratch, 'mnt');
    this.#server = server;
  }

  /** Makes a file system, mounts it, and records from then on. */
  static async make(type: FileSystem): Promise<RecordedDisk> {
    const scratch = makeScratch(`disk-${type}`);
    const at = (name: string): string => join(scratch, name);
    const { size, mkfs, mount } = FILE_SYSTEMS[type];
    await must('cc', ['-O1', '-Wall', '-Wextra', '-Werror', '-o', at('disk'), SOURCE]);
    for (const name of ['image', 'point', 'log']) fs.writeFileSync(at(name), '');
    fs.truncateSync(at('image'), size);
    fs.mkdirSync(at('mnt'));
    const [program, ...options] = mkfs;
    await must(program, [...options, at('image')]);
    await must('cp', ['--sparse=always', at('image'), at('first')]);
    const server = spawn(at('disk'), [at('point'), at('image'), at('log')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(server.stdout, 'data'); // ready
      await must('mount', ['-o', mount, at('point'), at('mnt')]);
    } catch (error) {
      server.kill('SIGKILL');
      await dropScratch(scratch);
      throw error;
    }
    return new RecordedDisk(type, scratch, server);
  }

  /** What the disk has seen so far. All that was durable before stays durable in a later power cut. */
  now(): Moment {
    return fs.statSync(join(this.#scratch, 'log')).size;
  }

  /** Unmounts the file system and ends the recording. */
  async stop(): Promise<void> {
    if (this.#server.exitCode !== null) return;
    const ended = once(this.#server, 'exit');
    await unmountBelow(this.#scratch);
    await ended;
  }

  /**
   * Cuts the power at moments, the earliest first. Writes up to the last flush before it are on the disk. Of
   * each later one, all sectors are there, or none, or some.
   * @param use - gets the mount point of a disk after the cut
   */
  async cut(moments: readonly Moment[], random: Random, use: Use): Promise<void> {
    const [steady, torn] = [join(this.#scratch, 'first'), join(this.#scratch, 'torn')];
    const disk = fs.openSync(steady, 'r+');
    const log = fs.openSync(join(this.#scratch, 'log'), 'r');
    try {
      const pending: Write[] = [];
      let at = 0;
      for (const moment of [...moments].sort((a, b) => a - b)) {
        for (let next; at < moment && (next = readRecord(log, at)) !== undefined; at = next.end) {
          if (next.end > moment) break;
          if (next.write) pending.push(next.write);
          else
            for (const write of pending.splice(0)) fs.writeSync(disk, write.data, 0, undefined, write.offset);
        }
        await must('cp', ['--sparse=always', steady, torn]);
        tear(torn, pending, { sector: FILE_SYSTEMS[this.type].sector, random });
        await this.#mounted(torn, (path) => use(path, moment));
      }
    } finally {
      fs.closeSync(disk);
      fs.closeSync(log);
    }
  }

  async #mounted(image: string, use: (path: string) => Promise<void>): Promise<void> {
    await must('mount', ['-o', FILE_SYSTEMS[this.type].mount, image, this.path]);
    try {
      await use(this.path);
    } finally {
      await unmountBelow(this.path);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await dropScratch(this.#scratch);
  }
}

export type Use = (path: string, moment: Moment) => Promise<void>;

function readRecord(log: number, at: number): { write?: Write; end: number } | undefined {
  const head = Buffer.alloc(HEAD);
  if (fs.readSync(log, head, 0, HEAD, at) < HEAD) return undefined;
  const offset = head.readBigUInt64LE(0);
  if (offset === FLUSH) return { end: at + HEAD };
  const data = Buffer.alloc(Number(head.readBigUInt64LE(8)));
  fs.readSync(log, data, 0, data.length, at + HEAD);
  return { write: { offset: Number(offset), data }, end: at + HEAD + data.length };
}

/**
 * Writes what a power cut leaves of writes that no flush has followed.
 * @param sector - bytes that a disk writes whole or not at all
 */
function tear(image: string, writes: readonly Write[], { sector, random }: Tearing): void {
  const disk = fs.openSync(image, 'r+');
  const put = ({ offset, data }: Write, from: number, to: number): void =>
    void fs.writeSync(disk, data, from, to - from, offset + from);
  for (const write of writes) {
    const { length } = write.data;
    const fate = random.below(4);
    if (fate < 2) put(write, 0, length);
    if (fate === 2)
      for (let at = 0; at < length; at += sector)
        if (random.below(2) === 0) put(write, at, Math.min(at + sector, length));
  }
  fs.closeSync(disk);
}

interface Tearing {
  readonly sector: number;
  readonly random: Random;
}
