/** That the store's files are read through the one door. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../../src', import.meta.url));
/** What keeps a store. `transfer` and `app` read files of the user's, too. */
const FOLDERS = ['system', 'layer', 'rwlayer', 'image', 'container'];
const READS =
  /^(?:l?stat|readFile|readdir|readlink|open|opendir|access|exists|realpath|createReadStream|writeFile|appendFile)(?:Sync)?$/;

/** Modules that may use the functions of `node:fs` themselves, and which functions. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  // The door.
  'system/store-files.ts': ['open'],
  // The addon; the root's own path, and the directories above it.
  'system/addon.ts': ['existsSync', 'openSync', 'readFileSync'],
  'system/package-version.ts': ['readFileSync'],
  'system/root.ts': ['access', 'realpath', 'stat'],
  'system/make-directories.ts': ['stat'],
  'system/safe-root.ts': ['lstat', 'readlink', 'realpath', 'stat'],
  'system/caps.ts': ['stat'],
  // Stamps in nanoseconds; the names in a directory that was looked at. Files beside `save -o FILE`; scratch
  // directories to lock.
  'system/changes.ts': ['readdirSync', 'statSync'],
  'system/reconcile.ts': ['open', 'readdir'],
  // New files without a name.
  'system/unnamed-file.ts': ['open'],
  // Locks of files of the user's; new files that nothing may be in the place of.
  'system/lock.ts': ['open'],
  'system/chunk-file.ts': ['open'],
  // Files of the host: programs, bundles, `cp`, /proc. A mounted root file system.
  'system/programs.ts': ['accessSync'],
  'container/run/runtime.ts': ['accessSync'],
  'container/bundle.ts': ['writeFile'],
  'container/spec/capabilities.ts': ['readFile'],
  'container/spec/devices.ts': ['lstat', 'readdir', 'realpath', 'stat'],
  'container/spec/files.ts': ['readFile'],
  'container/spec/mounts.ts': ['readFile', 'realpath'],
  'container/spec/namespaces.ts': ['existsSync'],
  'container/spec/unsupported.ts': ['existsSync'],
  'container/validate-mounts.ts': ['lstat'],
  'container/copy.ts': ['lstat', 'readlink', 'realpath', 'stat'],
  'system/processes.ts': ['readFileSync'],
  'system/mount-tables.ts': ['readFile', 'readdir', 'readlink'],
  'system/pinned-mount.ts': ['open', 'stat'],
};

/** The reading functions of node:fs that a source imports. */
function readsOf(text: string): string[] {
  const imports = text.matchAll(/import (?:type )?(?<what>[^;]*?) from 'node:fs(?:\/promises)?';/g);
  return [...imports].flatMap(({ groups }) =>
    groups?.['what']?.startsWith('{') === true
      ? groups['what']
          .replace(/[{}]/g, '')
          .split(',')
          .map((name) => name.trim().split(' as ')[0] ?? '')
          .filter((name) => READS.test(name))
      : ['all of node:fs'],
  );
}

describe('the source', () => {
  it.each(FOLDERS)('reads files of the store through system/store-files.ts: %s', async (folder) => {
    const names = (await readdir(join(SRC, folder), { recursive: true })).filter((name) =>
      name.endsWith('.ts'),
    );
    expect(names.length).toBeGreaterThan(10);
    for (const name of names) {
      const path = `${folder}/${name}`;
      expect([path, readsOf(await readFile(join(SRC, path), 'utf8')).sort()]).toEqual([
        path,
        ELSEWHERE[path] ?? [],
      ]);
    }
  });
});

describe('the check itself', () => {
  it.each([
    [`import { readFile } from 'node:fs/promises';`, ['readFile']],
    [`import {\n  constants,\n  statSync as look,\n} from 'node:fs';`, ['statSync']],
    [`import * as fs from 'node:fs';`, ['all of node:fs']],
    [`import fs from 'node:fs/promises';`, ['all of node:fs']],
    [`import { mkdir, rm, type FileHandle } from 'node:fs/promises';`, []],
  ])('finds what %j reads', (text, found) => {
    expect(readsOf(text)).toEqual(found);
  });
});
