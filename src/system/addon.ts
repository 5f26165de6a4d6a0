/**
 * Finds the native addon: where the caller or `LAYERSTACK_ADDON` says, else in the package, as it was built
 * there or as it came prebuilt for this processor and libc. Where there is none, or it does not load, the
 * error says how it is built.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isError, LayerstackError } from '../core/errors.ts';
import { HERE, require } from './here.ts';
import { packageVersion } from './package-version.ts';

/** Whose C library a program is linked with. */
export type Libc = 'glibc' | 'musl';

/** What decides which addon fits. */
export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly libc: Libc;
}

/**
 * The package's directory, with its slash; undefined where it is not found, as from a bundle without
 * node_modules.
 */
export type PackageHome = string | undefined;

let named: string | undefined;
let loaded: string | undefined;

/**
 * Names the file of the addon, for what is not loaded yet.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where the addon is loaded, from elsewhere.
 */
export function useAddon(path: string): void {
  const found = resolve(path);
  if (loaded !== undefined && loaded !== found)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `the addon of this process is loaded already, from ${loaded}: name it at the first open()`,
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
 * Where the addon is in the package.
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

/** What to do where no addon fits: a command that builds one, whatever the directory it is run in. */
export function advice(home: PackageHome, { platform, arch, libc }: Machine): string {
  const { command, path } = home === undefined ? buildElsewhere() : buildAt(home);
  return (
    `there is none for Node ${process.version} on ${platform}-${arch} with ${libc}. Build it with \`${command}\` ` +
    `(needs a C++20 compiler, make and python3)${path === undefined ? '' : `, and say LAYERSTACK_ADDON=${path}`}. ` +
    'LAYERSTACK_ADDON and the option `addon` of open() name the file where it is elsewhere.'
  );
}

interface Build {
  readonly command: string;
  /** Of the addon, where it is not found by itself. */
  readonly path?: string;
}

/**
 * The package keeps its binding.gyp elsewhere, since some package managers compile where they see one,
 * whatever is prebuilt.
 */
function buildAt(home: string): Build {
  const gyp = 'ln -sf packaging/binding.gyp binding.gyp';
  return { command: `cd ${quoted(home)} && ${gyp} && npx --yes node-gyp rebuild` };
}

/** In a directory of its own: this program does not have what the addon is built from. */
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

/** For a shell, and only where it needs to be. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

function fromEnvironment(): string | undefined {
  const path = process.env['LAYERSTACK_ADDON'];
  return path === undefined || path === '' ? undefined : resolve(path);
}

/**
 * Here, or, when a bundler has taken this file out of its package, where Node finds the package from here.
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

/** A program's head has the name of the loader that it asks for; musl's is `ld-musl-ARCH.so.1`. */
const HEAD_BYTES = 2048;

/** The C library of the program `path`. */
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
