/** New file systems for tests: loop ext4, xfs and btrfs, and tmpfs, each mounted in a scratch directory. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must } from './process.ts';
import { dropScratch, makeScratch } from './scratch.ts';

export interface Volume {
  /** The mount point. */
  readonly path: string;
  unmount(): Promise<void>;
}

export interface VolumeOptions {
  readonly sizeMiB: number;
  /** Options of mkfs. */
  readonly mkfs?: readonly string[];
  /** Options of mount. */
  readonly mount?: string;
}

/** Creates and mounts a file system. The caller unmounts it. */
export async function makeVolume(
  type: 'ext4' | 'xfs' | 'btrfs' | 'tmpfs',
  options: VolumeOptions,
): Promise<Volume> {
  const scratch = makeScratch(type);
  const path = join(scratch, 'mnt');
  mkdirSync(path);
  const unmount = () => dropScratch(scratch);
  try {
    if (type === 'tmpfs') {
      const size = `size=${String(options.sizeMiB)}m`;
      await must('mount', [
        '-t',
        'tmpfs',
        '-o',
        [size, options.mount].filter(Boolean).join(','),
        'tmpfs',
        path,
      ]);
    } else {
      const image = join(scratch, 'image');
      writeFileSync(image, '');
      truncateSync(image, options.sizeMiB * 1024 * 1024);
      await must(`mkfs.${type}`, [type === 'ext4' ? '-F' : '-f', '-q', ...(options.mkfs ?? []), image]);
      await must('mount', ['-o', ['loop', options.mount].filter(Boolean).join(','), image, path]);
    }
  } catch (error) {
    await unmount();
    throw error;
  }
  return { path, unmount };
}
