/**
 * Makes the bottom layer of the house: busybox where this machine has it, otherwise the shell of the machine
 * with a few programs and the libraries that they need. Nothing is downloaded.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, readFileSync, realpathSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';

const APPLETS = ['sh', 'ls', 'cat', 'id', 'echo', 'mount', 'ps', 'uname'];
const PROGRAMS = ['sh', 'ls', 'cat', 'id', 'uname'];

const FILES = [
  { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\n' },
  { name: 'etc/group', content: 'root:x:0:\n' },
];

/** @returns {{ from: string, members: import('./archive.js').Member[] }} */
export function baseLayer() {
  const busybox = find('busybox');
  if (busybox) {
    return {
      from: `${busybox} of this machine`,
      members: [
        ...FILES,
        ...withLibraries(busybox, 'bin/busybox'),
        ...APPLETS.map((name) => ({ name: `bin/${name}`, linkname: 'busybox' })),
      ],
    };
  }
  const programs = PROGRAMS.map((name) => ({ name, path: find(name) })).filter(({ path }) => path);
  const members = programs.flatMap(({ name, path }) => withLibraries(path, `bin/${name}`));
  return {
    from: `busybox is not installed, so ${programs.map(({ name }) => name).join(', ')} of this machine with their libraries`,
    members: [...new Map([...FILES, ...members].map((member) => [member.name, member])).values()],
  };
}

/** Returns a program under a new name, and the libraries that it loads, under the names that it looks for. */
function withLibraries(path, name) {
  const libraries = linkedLibraries(path).map((library) => ({
    name: library.slice(1),
    content: readFileSync(library),
    mode: 0o755,
  }));
  return [{ name, content: readFileSync(path), mode: 0o755 }, ...libraries];
}

/** Returns the absolute paths in the output of `ldd`; a static program has none. */
function linkedLibraries(path) {
  try {
    const text = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...new Set([...text.matchAll(/(?:^|\s)(\/[^\s():]+)(?=\s+\()/gm)].map((match) => match[1]))];
  } catch {
    return [];
  }
}

/** Returns the file of a program, or undefined. */
export function find(program) {
  for (const directory of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/bin']) {
    const path = join(directory || '.', basename(program));
    try {
      accessSync(path, constants.X_OK);
      return realpathSync(path);
    } catch {
      continue;
    }
  }
  return undefined;
}
