/** Archives in place at scale: a million entries, and a directory of 100,000 of them. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, openSync, closeSync, statSync, writeSync, opendirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { native } from '../../src/system/native.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const FIXTURE = fileURLToPath(new URL('../fixtures/index-many.mjs', import.meta.url));
const ADDON = fileURLToPath(new URL('../../build/Release/layerstack.node', import.meta.url));

const ENTRIES = 1_000_000;
const IN_ONE = 100_000;
const IN_EACH = 1000;

/** docs/architecture.md, "Disk indexes", states these bounds. */
const MAX_BYTES_PER_ENTRY = 400;

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('scale');
  try {
    execFileSync('modprobe', ['-q', 'erofs']);
  } catch {
    // built in, or the mount says so
  }
});

afterEach(() => dropScratch(scratch));

const nameOf = (entry: number): string =>
  entry < IN_ONE
    ? `many/entry-${String(entry)}`
    : `few/${String(Math.floor(entry / IN_EACH))}/entry-${String(entry)}`;

/** Writes the headers of empty files: one that is right, with another name and checksum for each. */
function writeMany(path: string): void {
  const header = tar([{ name: 'x'.repeat(40), content: '', mode: 0o640 }]).subarray(0, 512);
  const sumOf = (bytes: Buffer): number => bytes.reduce((sum, byte) => sum + byte, 0);
  header.fill(0, 0, 100).fill(' ', 148, 156);
  const sum = sumOf(header);
  const piece = Buffer.alloc(IN_EACH * 512);
  const fd = openSync(path, 'wx');
  try {
    for (let entry = 0; entry < ENTRIES; entry++) {
      const at = (entry % IN_EACH) * 512;
      const name = Buffer.from(nameOf(entry));
      header.copy(piece, at);
      name.copy(piece, at);
      piece.write(`${(sum + sumOf(name)).toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
      if (at === piece.length - 512) writeSync(fd, piece);
    }
    writeSync(fd, Buffer.alloc(1024));
  } finally {
    closeSync(fd);
  }
}

function count(directory: string): number {
  const entries = opendirSync(directory, { bufferSize: 1000 });
  try {
    let found = 0;
    while (entries.readSync() !== null) found++;
    return found;
  } finally {
    entries.closeSync();
  }
}

it('indexes a million entries in bounded memory', { timeout: 600_000 }, async () => {
  const path = join(scratch, 'many.tar');
  const index = join(scratch, 'many.erofs');
  writeMany(path);
  const bytes = Number(await must(process.execPath, [FIXTURE, ADDON, path, index]));
  expect(bytes / ENTRIES).toBeLessThan(MAX_BYTES_PER_ENTRY);
  expect(bytes / ENTRIES).toBeGreaterThan(50); // else it is not measured
  expect(statSync(index).size / ENTRIES).toBeLessThan(128);

  const at = join(scratch, 'mounted');
  mkdirSync(at);
  const fds = [index, path].map((file) => openSync(file, 'r'));
  try {
    await native.mountErofs({ fd: fds[0] ?? -1, devices: fds.slice(1), method: 'file', target: at });
  } finally {
    fds.forEach(closeSync);
  }
  expect(count(join(at, 'many'))).toBe(IN_ONE);
  expect(count(join(at, 'few'))).toBe((ENTRIES - IN_ONE) / IN_EACH);
  for (const entry of [0, IN_ONE - 1, IN_ONE, ENTRIES - 1])
    expect(statSync(join(at, nameOf(entry))).mode & 0o777).toBe(0o640);
});
