/**
 * Applies layer tars in scratch directories, as the layer store does, and checks the result. Every accepted
 * layer is reassembled and compared with its DiffID, because every stored layer must be savable.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, expect } from 'vitest';
import { LayerstackError } from '../../src/core/errors.ts';
import { call, native, type LayerApplied, type LayerLimits } from '../../src/system/native.ts';

export const LIMITS: LayerLimits = {
  maxBytes: 1 << 30,
  maxEntries: 100_000,
  maxPathBytes: 4096,
  maxPaxBytes: 1 << 20,
};

/** A line of tar-split.json. */
export interface SplitEntry {
  readonly type: 1 | 2;
  readonly name?: string;
  readonly name_raw?: string;
  readonly size?: number;
  readonly payload: string | null;
  readonly position: number;
}

export interface Applied extends LayerApplied {
  readonly diff: string;
  readonly split: readonly SplitEntry[];
}

const scratch: string[] = [];
afterEach(() => {
  for (const dir of scratch.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** Creates a directory that is removed after the test. */
export function scratchDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'layerstack-apply-'));
  scratch.push(dir);
  return dir;
}

/** Creates `<scratch>/layer/diff` beside a canary file that no layer may touch. */
function place(): { home: string; diff: string; tarSplit: string } {
  const home = scratchDirectory();
  mkdirSync(join(home, 'layer', 'diff'), { recursive: true });
  mkdirSync(join(home, 'canary'));
  writeFileSync(join(home, 'canary', 'file'), 'untouched');
  return { home, diff: join(home, 'layer', 'diff'), tarSplit: join(home, 'tar-split.json.gz') };
}

/** Applies `bytes` from a file. */
export async function apply(bytes: Uint8Array, limits: Partial<LayerLimits> = {}): Promise<Applied> {
  const { home, diff, tarSplit } = place();
  const file = join(home, 'layer.tar');
  writeFileSync(file, bytes);
  const fd = openSync(file, 'r');
  try {
    const job = new native.LayerApply({
      diff,
      tarSplit,
      source: { fd, offset: 0, size: bytes.length },
      limits: { ...LIMITS, ...limits },
    });
    const applied = await call(job.result);
    expect(readdirSync(join(home, 'layer')), 'nothing is left beside the layer').toEqual(['diff']);
    expect(await reassembled(diff, tarSplit), 'the layer can be reassembled').toBe(applied.diffId);
    return { ...applied, diff, split: readSplit(tarSplit) };
  } finally {
    closeSync(fd);
    expect(readFileSync(join(home, 'canary', 'file'), 'utf8')).toBe('untouched');
    expect(readdirSync(join(home, 'canary'))).toEqual(['file']);
    const known = ['canary', 'layer', 'layer.tar', 'tar-split.json.gz'];
    expect(readdirSync(home).filter((name) => !known.includes(name))).toEqual([]);
  }
}

/** Applies `bytes`, pushed in pieces of `piece` bytes. */
export async function applyPushed(bytes: Uint8Array, piece: number): Promise<Applied> {
  const { diff, tarSplit } = place();
  const job = new native.LayerApply({ diff, tarSplit, limits: LIMITS });
  job.result.catch(() => undefined);
  for (let at = 0; at < bytes.length; at += piece) await call(job.write(bytes.subarray(at, at + piece)));
  job.end();
  const applied = await call(job.result);
  expect(await reassembled(diff, tarSplit)).toBe(applied.diffId);
  return { ...applied, diff, split: readSplit(tarSplit) };
}

/** Applies `bytes`, which must be refused, and returns the error. */
export async function refused(
  bytes: Uint8Array,
  limits: Partial<LayerLimits> = {},
): Promise<LayerstackError> {
  try {
    await apply(bytes, limits);
  } catch (error) {
    if (LayerstackError.is(error)) return error;
    throw error;
  }
  throw new Error('the layer was accepted');
}

export function readSplit(tarSplit: string): SplitEntry[] {
  const text = gunzipSync(readFileSync(tarSplit)).toString();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as SplitEntry);
}

/** Returns the digest of a reassembled layer. */
export async function reassembled(diff: string, tarSplit: string): Promise<string> {
  const assembler = new native.LayerAssembler({ diff, tarSplit });
  const hash = createHash('sha256');
  try {
    for (let chunk = await call(assembler.read()); chunk; chunk = await call(assembler.read()))
      hash.update(chunk);
  } finally {
    assembler.close();
  }
  return `sha256:${hash.digest('hex')}`;
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** Returns incompressible bytes. */
export function noise(length: number): Buffer {
  return randomBytes(length);
}
