/** The package in its published form, packed once for a test file. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from './process.ts';

export const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** Runs `npm pack` into `directory`. dist stays as it is, because other tests run it at the same time. */
export async function packed(directory: string): Promise<string> {
  await must('npm', ['run', 'prebuild'], { cwd: HOME });
  return packedAsIs(directory);
}

/** As {@link packed}, but includes prebuilt addons if there are any. */
export async function packedAsIs(directory: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', directory];
  const [{ filename }] = JSON.parse(await must('npm', pack, { cwd: HOME })) as [{ filename: string }];
  return join(directory, filename);
}
