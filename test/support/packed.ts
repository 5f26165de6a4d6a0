/** The package as it is published, made once for a test file. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must } from './process.ts';

export const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** Makes what `npm pack` makes, in `directory`; dist stays as it is, since other tests start it meanwhile. */
export async function packed(directory: string): Promise<string> {
  await must('npm', ['run', 'prebuild'], { cwd: HOME });
  return packedAsIs(directory);
}

/** The same with what is prebuilt already, if anything is. */
export async function packedAsIs(directory: string): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', directory];
  const [{ filename }] = JSON.parse(await must('npm', pack, { cwd: HOME })) as [{ filename: string }];
  return join(directory, filename);
}
