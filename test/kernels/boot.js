/** Boots a machine from the disk image that `layerstack image` writes of a Debian with an init of its own. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../suites/support/run.js';
import { CACHE, mirrorOf } from './kernel.js';
import { boot } from './machine.js';

const CLI = fileURLToPath(new URL('../../dist/bundle/main.js', import.meta.url));

/** Prints a file between two marks, and powers off. */
const INIT = `#!/bin/sh
mount -t proc proc /proc
echo 'begin of os-release'
cat /etc/os-release
echo 'end of os-release'
# The kernel's own line must not mix with the file.
sleep 2
echo o >/proc/sysrq-trigger
sleep 60
`;

const SECONDS = 180;

/** Returns the path of a tar of Debian's smallest system. debootstrap makes it once. */
async function debian() {
  const archive = join(CACHE, 'debian.tar');
  if (existsSync(archive)) return archive;
  const { codename, mirror } = await mirrorOf();
  mkdirSync(CACHE, { recursive: true });
  const made = mkdtempSync(join(CACHE, 'debian-'));
  try {
    await run('debootstrap', ['--variant=minbase', codename, made, mirror], { env: await environment() });
    await run('tar', ['-C', made, '--numeric-owner', '-cf', `${made}.tar`, '.']);
    renameSync(`${made}.tar`, archive);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
  return archive;
}

/** Returns the environment with apt's proxies, which debootstrap takes from there. */
async function environment() {
  const { output } = await run('apt-config', ['dump', '--no-empty', '--format', '%f %v%n', 'Acquire']);
  const proxies = [...output.matchAll(/^Acquire::(https?)::Proxy (https?:\S+)$/gim)];
  return {
    ...process.env,
    ...Object.fromEntries(proxies.map(([, scheme, url]) => [`${scheme.toLowerCase()}_proxy`, url])),
  };
}

/**
 * Writes the disk image below `scratch`.
 * @returns its path, and the os-release that it holds.
 */
export async function bootableDisk(scratch) {
  const layerstack = async (...words) =>
    (await run(process.execPath, [CLI, '--root', join(scratch, 'store'), ...words])).output.trim();
  await layerstack('import', await debian(), 'debian:boot');
  await layerstack('create', '--name', 'machine', 'debian:boot', '/sbin/init');
  const init = join(scratch, 'init');
  writeFileSync(init, INIT, { mode: 0o755 });
  await layerstack('cp', init, 'machine:/sbin/init');
  const osRelease = join(scratch, 'os-release');
  await layerstack('cp', 'machine:/usr/lib/os-release', osRelease);
  const path = join(scratch, 'disk.erofs');
  await layerstack('image', '-o', path, 'machine');
  return { path, osRelease: readFileSync(osRelease, 'utf8') };
}

/** Returns what is wrong with the boot of a kernel from the disk; undefined if it prints the os-release. */
export async function bootFault(kernel, { path, osRelease }) {
  const words = ['root=/dev/vda', 'rootfstype=erofs', 'ro'];
  const { text, ended } = await boot({ kernel, disk: { path, readOnly: true }, words, seconds: SECONDS });
  const printed = /begin of os-release\n([^]*)end of os-release\n/.exec(text)?.[1];
  if (printed === osRelease && ended) return undefined;
  return `the machine printed:\n${text.slice(-4000)}`;
}
