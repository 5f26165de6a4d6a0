/** Projects that install the packed package, with the programs of test/fixtures/installed. */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dockerArchive } from './archives.ts';
import { imageOf, layerOf } from './images.ts';
import { HOME } from './packed.ts';
import { findProgram } from './peers.ts';
import { tar } from './tar.ts';

const IMAGE = imageOf([layerOf({ 'etc/motd': 'hello' })], { tags: ['app:1'] });

/** The output of a program that could use the library. */
export const USED = JSON.stringify({ id: IMAGE.id, motd: 'hello', refused: 'ERR_IMAGE_NOT_FOUND' });

/** Writes the archive that the programs load. */
export function writeArchive(path: string): string {
  writeFileSync(path, tar(dockerArchive([IMAGE])));
  return path;
}

/** Creates a project with the programs and these dependencies. */
export function makeProject(directory: string, dependencies: Readonly<Record<string, string>>): string {
  mkdirSync(directory, { recursive: true });
  cpSync(join(HOME, 'test/fixtures/installed'), directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies }));
  return directory;
}

/** Programs that package managers and their scripts run; no compiler, no make, no python. */
const PROGRAMS = ['sh', 'env', 'uname', 'dirname', 'basename', 'sed', 'readlink', 'cat', 'ldd', 'getconf'];

/** Returns a PATH without a compiler. */
export function pathWithoutCompiler(directory: string, nodeProgram: string): string {
  mkdirSync(directory, { recursive: true });
  symlinkSync(nodeProgram, join(directory, 'node'));
  for (const name of PROGRAMS) {
    const found = findProgram(name);
    if (found) symlinkSync(found, join(directory, name));
  }
  return directory;
}
