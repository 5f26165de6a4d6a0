/**
 * erofs-utils 1.8, the first version that checks images with blocks of 512 bytes. Debian bookworm has 1.5, so
 * the tests run the programs of trixie with their own libraries.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must, run, type Ran } from './process.ts';

export type ErofsProgram = 'mkfs.erofs' | 'fsck.erofs' | 'dump.erofs';

export interface ErofsUtils {
  run(program: ErofsProgram, ...args: readonly string[]): Promise<Ran>;
}

/**
 * Downloads the programs into an empty directory. Outside of CI, returns undefined where they cannot be had.
 * @throws Error in CI, with the words of apt.
 */
export async function erofsUtils(directory: string): Promise<ErofsUtils | undefined> {
  const script = fileURLToPath(new URL('erofs-utils.sh', import.meta.url));
  try {
    await must('bash', [script, directory]);
  } catch (error) {
    if (process.env['CI']) throw error;
    console.warn('erofs-utils 1.8 cannot be downloaded; what needs it is SKIPPED', error);
    return undefined;
  }
  const root = join(directory, 'root');
  const loader = find(root, /^ld-linux.*\.so\.\d$/);
  const libraries = join(find(root, /^libc\.so\.6$/), '..');
  return {
    run: (program, ...args) =>
      run(loader, ['--library-path', libraries, join(root, 'usr/bin', program), ...args]),
  };
}

function find(root: string, name: RegExp): string {
  const entry = readdirSync(root, { recursive: true, withFileTypes: true }).find(
    (each) => !each.isDirectory() && name.test(each.name),
  );
  if (entry === undefined) throw new Error(`${root} has no ${String(name)}`);
  return join(entry.parentPath, entry.name);
}
