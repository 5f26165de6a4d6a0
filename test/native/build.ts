/** Builds a test program of the native core with its Makefile and runs it. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = fileURLToPath(new URL('.', import.meta.url));
const out = fileURLToPath(new URL('../../build/native-test', import.meta.url));

/** The folder with Node's own zlib.h and openssl/: beside Node, named by nodedir, or in node-gyp's cache. */
export function nodeInclude(): string {
  const prefixes = [
    process.env['npm_config_nodedir'],
    process.env['npm_package_config_node_gyp_nodedir'],
    join(dirname(process.execPath), '..'),
  ].filter((prefix) => prefix !== undefined);
  const caches = [
    process.env['npm_config_devdir'],
    join(homedir(), '.cache', 'node-gyp'),
    join(homedir(), '.node-gyp'),
  ].filter((cache) => cache !== undefined && existsSync(cache));
  for (const cache of caches as string[]) {
    // Our own version first; another one's headers do as well, since only zlib's and OpenSSL's are used.
    const versions = [process.versions.node, ...readdirSync(cache)];
    prefixes.push(...versions.map((version) => join(cache, version)));
  }
  const folders = prefixes.map((prefix) => join(prefix, 'include', 'node'));
  const found = folders.find((folder) => existsSync(join(folder, 'zlib.h')));
  if (found === undefined) throw new Error(`no Node headers in any of ${folders.join(', ')}`);
  return found;
}

/**
 * Builds a program together with the native core under ASan and UBSan, and runs it: `test/native/<name>.cc`,
 * or what the Makefile in another `folder` calls so.
 * @returns its output, and whether it exited with 0
 */
export async function runNativeTest(
  name: string,
  args: readonly string[] = [],
  folder = here,
): Promise<{ output: string; passed: boolean }> {
  mkdirSync(out, { recursive: true });
  const program = join(out, name);
  // flock(1): test files run in parallel and share the objects.
  const make = ['make', '-j2', '-s', '-C', folder, `OUT=${out}`, `NODE_INCLUDE=${nodeInclude()}`, program];
  await run('flock', [join(out, '.lock'), ...make], { maxBuffer: 1 << 26 });
  try {
    const { stdout, stderr } = await run(program, args, { maxBuffer: 1 << 26 });
    return { output: stdout + stderr, passed: true };
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    return { output: stdout + stderr, passed: false };
  }
}
