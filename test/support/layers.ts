/** Stores and layer tars for the tests of roots and layers. */
import { randomBytes } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf, type DiffID } from '../../src/core/digest.ts';
import type { LayerLimits } from '../../src/system/native.ts';
import { tar } from './tar.ts';

export const LIMITS: LayerLimits = {
  maxBytes: 2 ** 40,
  maxEntries: 1_000_000,
  maxPathBytes: 4096,
  maxPaxBytes: 1 << 20,
};

/** Returns a layer of one file, different for each name and content. */
export function layerTar(name: string, content: string | Uint8Array = name): Buffer {
  return tar([
    { name: 'dir/', type: 'directory', mode: 0o750 },
    { name: `dir/${name}`, content },
  ]);
}

/** Returns a layer of `bytes` incompressible bytes. */
export function bigTar(bytes: number): Buffer {
  return tar([{ name: 'big', content: randomBytes(bytes) }]);
}

export function diffIdOf(bytes: Uint8Array): DiffID {
  return digestOf(bytes) as string as DiffID;
}

/** Yields the bytes in chunks of `size`. */
export async function* chunks(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Returns every path below `root` with its type, mode, owner, and link target or short content. */
export function snapshot(root: string, skip: readonly string[] = []): Record<string, string> {
  const found: Record<string, string> = {};
  for (const path of (readdirSync(root, { recursive: true }) as string[]).sort()) {
    if (skip.some((name) => path === name || path.startsWith(`${name}/`))) continue;
    const stats = lstatSync(join(root, path));
    const kind = stats.isDirectory() ? 'd' : stats.isSymbolicLink() ? 'l' : stats.isFile() ? '-' : '?';
    const content =
      kind === 'l' ? readlinkSync(join(root, path)) : kind === '-' ? text(join(root, path)) : '';
    found[path] =
      `${kind} ${(stats.mode & 0o7777).toString(8).padStart(4, '0')} ${stats.uid} ${content}`.trimEnd();
  }
  return found;
}

function text(path: string): string {
  const bytes = readFileSync(path);
  return bytes.length > 4000 ? `${bytes.length} bytes` : bytes.toString('latin1');
}
