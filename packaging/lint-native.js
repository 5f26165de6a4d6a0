/**
 * `npm run lint:native` checks the C++: its format with clang-format, and its code with clang-tidy. It skips
 * a tool that is not installed, and says so. Build the addon first: the build records where Node's headers
 * are.
 */
import { spawn } from 'node:child_process';
import console from 'node:console';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

/**
 * The folder of Node's headers, as node-gyp found it: config.gypi is a Python literal that begins with a
 * comment.
 */
function nodeHeaders() {
  const [, folder] = /"nodedir": "([^"]*)"/.exec(readFileSync('build/config.gypi', 'utf8'));
  return join(folder, 'include/node');
}

/**
 * Returns whether the tool finds no faults, or is not installed. Its standard error is shown only if it finds
 * faults, because clang-tidy also counts suppressed warnings there.
 */
function run(tool, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { stdio: ['ignore', 'inherit', 'pipe'] });
    let complaint = '';
    child.stderr.on('data', (text) => (complaint += text));
    child.once('close', (status) => {
      if (status !== 0 && complaint) console.error(complaint);
      resolve(status === 0);
    });
    child.once('error', (error) => {
      if (error.code !== 'ENOENT') return reject(error);
      console.error(`${tool} is not installed: left out`);
      resolve(true);
    });
  });
}

const sources = ['native', 'test/native', 'test/fuzz'].flatMap((folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => /\.(?:cc|h)$/.test(name))
    .map((name) => join(folder, name)),
);
let clean = await run('clang-format', ['--dry-run', '--Werror', ...sources]);

// The units that the addon is compiled from (units.js): each header is read once for all files of a folder.
const units = readdirSync('build/units').map((name) => join('build/units', name));
const compile = [
  ...['-std=c++20', '-D_FILE_OFFSET_BITS=64', '-DNAPI_VERSION=9', '-DNODE_ADDON_API_DISABLE_DEPRECATED'],
  ...['-Inative', `-I${nodeHeaders()}`, `-I${createRequire(import.meta.url)('node-addon-api').include_dir}`],
];
async function work() {
  for (let unit = units.pop(); unit !== undefined; unit = units.pop()) {
    if (!(await run('clang-tidy', ['--quiet', unit, '--', ...compile]))) clean = false;
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));
process.exitCode = clean ? 0 : 1;
