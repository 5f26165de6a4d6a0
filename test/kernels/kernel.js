/**
 * Debian's kernels, made ready for qemu: the kernel, its modules, and an initramfs. apt fetches the package
 * by the sources of this machine, with other suites in their place, and installs nothing. The result stays
 * below build/kernels.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readProgram, run } from '../suites/support/run.js';

/** The suite of Debian that has each kernel, and whether the kernel mounts packed layers. */
export const KERNELS = new Map([
  ['5.10', { suite: 'bullseye', packed: false }],
  ['6.1', { suite: 'bookworm', packed: true }],
  ['6.12', { suite: 'trixie', packed: true }],
]);

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** Where all that is downloaded stays. */
export const CACHE = here('../../build/kernels');

/** Modules that the guest may load; the others are deleted, so that few need decompression. */
const KEPT = ['fs', 'lib', 'crypto', 'arch', 'net/9p', 'drivers/virtio', 'drivers/block'];

/** Modules of the initramfs. They mount the root file system. */
const EARLY = [
  'virtio_pci',
  'virtio_blk',
  'crc32c_generic',
  '9pnet_virtio',
  '9p',
  'overlay',
  'ext4',
  'erofs',
  'loop',
];

/**
 * Returns the mirror of Debian that apt uses here, and the codename of the suite that it takes from there.
 */
export async function mirrorOf() {
  const wanted = ['Component: main', 'Origin: Debian', 'Label: Debian'];
  const { output } = await run('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI)', ...wanted]);
  const found = /^([a-z]+) (\S+)$/m.exec(output);
  if (found === null) throw new Error("apt's sources do not name a mirror of Debian: run apt-get update");
  return { codename: found[1], mirror: found[2] };
}

/** Returns apt's sources for a suite. */
async function sourcesOf(suite) {
  const { mirror } = await mirrorOf();
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const options = existsSync(keyring) ? `[signed-by=${keyring}] ` : '';
  return `deb ${options}${mirror} ${suite} main\n`;
}

/** Downloads the package of a kernel into `directory`, and returns its path. */
async function download(suite, directory) {
  for (const path of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(directory, path), { recursive: true });
  writeFileSync(join(directory, 'status'), '');
  writeFileSync(join(directory, 'sources.list'), await sourcesOf(suite));
  const options = {
    'Dir::Etc::sourcelist': join(directory, 'sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State': join(directory, 'state'),
    'Dir::State::status': join(directory, 'status'),
    'Dir::Cache': join(directory, 'cache'),
    'APT::Sandbox::User': 'root',
  };
  const words = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await run('apt-get', [...words, '-q', 'update']);
  const { output } = await run('apt-cache', [...words, 'depends', '--important', 'linux-image-amd64']);
  const name = /Depends: (linux-image-\S+)/.exec(output)?.[1];
  if (name === undefined) throw new Error(`${suite} does not have the package of a kernel:\n${output}`);
  await run('apt-get', [...words, '-q', 'download', name], { cwd: directory });
  return join(
    directory,
    readdirSync(directory).find((file) => file.endsWith('.deb')),
  );
}

/** Deletes the modules that are not kept, decompresses the others, and lists their dependencies. */
async function prepareModules(tree, version) {
  const modules = join(tree, 'lib/modules', version);
  const kernel = join(modules, 'kernel');
  const kept = join(modules, 'kept');
  for (const path of KEPT.filter((each) => existsSync(join(kernel, each)))) {
    mkdirSync(join(kept, path, '..'), { recursive: true });
    renameSync(join(kernel, path), join(kept, path));
  }
  rmSync(kernel, { recursive: true });
  renameSync(kept, kernel);
  const packed = readdirSync(kernel, { recursive: true }).filter((path) => path.endsWith('.ko.xz'));
  if (packed.length > 0) await run('xz', ['-d', ...packed], { cwd: kernel });
  await run('busybox', ['depmod', '-b', tree, version]);
}

/** Returns the paths of the early modules in the order in which they load. */
function loadOrder(modules) {
  const dependencies = new Map(
    readFileSync(join(modules, 'modules.dep'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => [
        line.split(':')[0],
        line
          .split(/:? +/)
          .slice(1)
          .filter((path) => path !== ''),
      ]),
  );
  const order = new Set();
  const add = (path) => {
    for (const needed of dependencies.get(path)) if (!order.has(needed)) add(needed);
    order.add(path);
  };
  // A name without a module is built into the kernel.
  for (const name of EARLY)
    for (const path of dependencies.keys())
      if (basename(path, '.ko').replaceAll('-', '_') === name) add(path);
  return [...order];
}

/** Writes an initramfs with busybox, the early modules, and init.sh. */
async function writeInitramfs(modules, target) {
  const root = `${target}.d`;
  for (const path of ['bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'disk', 'root'])
    mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, 'bin/busybox'), readProgram('busybox'), { mode: 0o755 });
  const order = loadOrder(modules);
  for (const path of order) copyFileSync(join(modules, path), join(root, 'modules', basename(path)));
  writeFileSync(join(root, 'modules/order'), order.map((path) => `${basename(path)}\n`).join(''));
  copyFileSync(here('init.sh'), join(root, 'init'));
  const pack = 'cd "$1" && chmod 755 init && find . | busybox cpio -o -H newc | gzip -1 >"$2"';
  await run('sh', ['-c', pack, 'sh', root, target]);
  rmSync(root, { recursive: true });
}

async function unpack(archive, directory) {
  const tree = join(directory, 'tree');
  await run('dpkg-deb', ['-x', archive, tree]);
  // Newer packages have the modules below /usr.
  if (existsSync(join(tree, 'usr/lib/modules'))) {
    rmSync(join(tree, 'lib'), { recursive: true, force: true });
    renameSync(join(tree, 'usr/lib'), join(tree, 'lib'));
  }
  const [version] = readdirSync(join(tree, 'lib/modules'));
  await prepareModules(tree, version);
  renameSync(join(tree, 'boot', `vmlinuz-${version}`), join(directory, 'vmlinuz'));
  renameSync(join(tree, 'lib/modules'), join(directory, 'modules'));
  rmSync(tree, { recursive: true });
  writeFileSync(join(directory, 'version'), version);
}

/**
 * Returns a kernel that is ready for qemu.
 * @param name a key of {@link KERNELS}
 * @returns its version and the paths of the kernel, of the folder of its modules, and of the initramfs.
 */
export async function kernelOf(name) {
  const directory = join(CACHE, name);
  if (!existsSync(directory)) {
    mkdirSync(CACHE, { recursive: true });
    const staged = mkdtempSync(join(CACHE, 'new-'));
    try {
      const apt = join(staged, 'apt');
      await unpack(await download(KERNELS.get(name).suite, apt), staged);
      rmSync(apt, { recursive: true });
      renameSync(staged, directory);
    } finally {
      rmSync(staged, { recursive: true, force: true });
    }
  }
  const version = readFileSync(join(directory, 'version'), 'utf8');
  const initramfs = join(directory, 'initramfs');
  await writeInitramfs(join(directory, 'modules', version), initramfs);
  return { version, kernel: join(directory, 'vmlinuz'), modules: join(directory, 'modules'), initramfs };
}

/** Returns the programs that are not installed. */
export function missingPrograms() {
  const needed = ['qemu-system-x86_64', 'apt-get', 'dpkg-deb', 'busybox', 'xz', 'mke2fs', 'debootstrap'];
  return needed.filter((name) => spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name]).status !== 0);
}
