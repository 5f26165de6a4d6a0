/**
 * Finds the native addon. The caller or `LAYERSTACK_ADDON` may name it. Otherwise it is in the package, built
 * there or prebuilt for this processor and libc. An addon that is missing or does not load is an error, which
 * says how to build it.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isError, LayerstackError } from '../core/errors.ts';
import { HERE, require } from './here.ts';
import { packageVersion } from './package-version.ts';

/** The C library with which a program is linked. */
export type Libc = 'glibc' | 'musl';

/** The facts that decide which addon fits. */
export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly libc: Libc;
}

/**
 * The package's directory, with its slash; undefined where it is not found, e.g. in a bundle without
 * node_modules.
 */
export type PackageHome = string | undefined;

let named: string | undefined;
let loaded: string | undefined;

/**
 * Sets the file that the addon is loaded from. Call it before the addon is loaded.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where the addon is already loaded from another file.
 */
export function useAddon(path: string): void {
  const found = resolve(path);
  if (loaded !== undefined && loaded !== found)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `this process has already loaded the addon ${loaded}: name another one at the first open()`,
      { key: 'options.addon', expected: loaded, found },
    );
  named = found;
}

/**
 * Loads the addon.
 * @throws {@link LayerstackError} ERR_ADDON
 */
export function loadAddon(): object {
  const machine = { platform: process.platform, arch: process.arch, libc: libcOf(process.execPath) };
  const home = packageHome();
  const path = named ?? fromEnvironment() ?? addonPath(home, machine);
  try {
    const addon = require(path) as object;
    loaded = path;
    return addon;
  } catch (cause) {
    const why = isError(cause) ? cause.message : String(cause);
    throw new LayerstackError(
      'ERR_ADDON',
      `the native addon does not load (${why}): ${advice(home, machine)}`,
      {
        path,
        cause,
      },
    );
  }
}

/**
 * Returns the file of the addon in the package.
 * @throws {@link LayerstackError} ERR_ADDON
 */
export function addonPath(home: PackageHome, machine: Machine): string {
  if (machine.platform !== 'linux')
    throw new LayerstackError('ERR_ADDON', `layerstack runs on Linux only, and this is ${machine.platform}`);
  const candidates = home === undefined ? [] : [built(home), prebuilt(home, machine)];
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new LayerstackError('ERR_ADDON', `the native addon is missing: ${advice(home, machine)}`, {
    path: candidates.at(-1),
  });
}

/** The advice where no addon fits: a command that builds one, from any directory. */
export function advice(home: PackageHome, { platform, arch, libc }: Machine): string {
  const { command, path } = home === undefined ? buildElsewhere() : buildAt(home);
  return (
    `the package has none for Node ${process.version} on ${platform}-${arch} with ${libc}. Build it with \`${command}\` ` +
    `(needs a C++20 compiler, make and python3)${path === undefined ? '' : `, and set LAYERSTACK_ADDON=${path}`}. ` +
    'If the file is elsewhere, name it with LAYERSTACK_ADDON or the option `addon` of open().'
  );
}

interface Build {
  readonly command: string;
  /** The file of the built addon, where it is not in the package and must be named. */
  readonly path?: string;
}

/**
 * The package keeps its binding.gyp in a subdirectory: some package managers compile every package that has
 * one at the top, even if an addon is prebuilt.
 */
function buildAt(home: string): Build {
  const gyp = 'ln -sf packaging/binding.gyp binding.gyp';
  return { command: `cd ${quoted(home)} && ${gyp} && npx --yes node-gyp rebuild` };
}

/**
 * The command that installs and builds the package in another directory, for programs without its sources.
 */
function buildElsewhere(): Build {
  const directory = resolve('layerstack-addon');
  const home = `${directory}/node_modules/layerstack/`;
  const install = `npm install --ignore-scripts --prefix ${quoted(directory)} layerstack@${packageVersion()}`;
  return { command: `${install} && ${buildAt(home).command}`, path: quoted(built(home)) };
}

function built(home: string): string {
  return `${home}build/Release/layerstack.node`;
}

function prebuilt(home: string, { arch, libc }: Machine): string {
  return `${home}prebuilds/linux-${arch}/layerstack.${libc}.node`;
}

/** Quotes a word for a shell where needed. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function fromEnvironment(): string | undefined {
  const path = process.env['LAYERSTACK_ADDON'];
  return path === undefined || path === '' ? undefined : resolve(path);
}

/**
 * The directory above this file, or, when a bundler has moved this file, the package that Node finds from
 * here.
 */
function packageHome(): PackageHome {
  const own = fileURLToPath(new URL('../../', HERE));
  if (isPackage(own)) return own;
  try {
    return `${dirname(require.resolve('layerstack/package.json'))}/`;
  } catch {
    return undefined;
  }
}

function isPackage(directory: string): boolean {
  try {
    const manifest = JSON.parse(readFileSync(`${directory}package.json`, 'utf8')) as {
      name?: unknown;
    } | null;
    return manifest?.name === 'layerstack';
  } catch {
    return false;
  }
}

/** The name of a program's loader is in its first bytes. musl's loader is `ld-musl-ARCH.so.1`. */
const HEAD_BYTES = 2048;

/** Returns the C library of the program `path`. */
export function libcOf(path: string): Libc {
  const head = Buffer.alloc(HEAD_BYTES);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, head, 0, HEAD_BYTES, 0);
  } finally {
    closeSync(fd);
  }
  return head.includes('/ld-musl-') ? 'musl' : 'glibc';
}
