/**
 * The tour: `npm run quickstart`, or `npm run quickstart -- IMAGE.tar` with an archive of your own.
 * Everything happens in a scratch directory and through the `layerstack` command, so you can type each line
 * again. The tour leaves nothing behind.
 *
 * The house shows how OverlayFS works: `material` brings bad concrete and rebar, `material2` lays good
 * concrete over it and adds marble, and the container `build` adds a frame and takes the marble away.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { dockerArchive } from './archive.js';
import { baseLayer, find } from './base.js';
import { bold, command, cyan, dim, green, listing, output, red, step } from './show.js';

if (process.argv.length > 3 || process.argv[2]?.startsWith('-')) {
  console.error(
    'Usage: npm run quickstart [-- ARCHIVE]\nARCHIVE: what docker save wrote, an OCI archive or an OCI layout folder',
  );
  process.exit(process.argv.includes('--help') ? 0 : 2);
}

const CLI = fileURLToPath(new URL('../../dist/bundle/main.js', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'layerstack-quickstart-'));
const root = join(scratch, 'store');
const started = Date.now();

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    cleanUp();
    process.exit(signal === 'SIGINT' ? 130 : 143);
  });
}

try {
  await tour(process.argv[2]);
  console.log(`\n${green('Done')} in ${((Date.now() - started) / 1000).toFixed(1)} s, nothing left behind.`);
} catch (error) {
  console.error(`\n${red('The tour stopped:')} ${error.stderr?.trim() || error.message}`);
  if (process.getuid() !== 0) console.error('Mounting needs root: sudo npm run quickstart');
  process.exitCode = 1;
} finally {
  cleanUp();
}

async function tour(archive) {
  console.log(bold('layerstack quickstart'));
  command(`export LAYERSTACK_ROOT=${root}`);
  const image = archive ? loadOwn(archive) : await loadHouse();

  step(
    'What is on disk',
    "Each layer is a directory of Docker's overlay2 store, and holds its own files only:",
  );
  const { GraphDriver } = inspect(image);
  const layers = [GraphDriver.Data.UpperDir, ...(GraphDriver.Data.LowerDir?.split(':') ?? [])];
  for (const [index, diff] of layers.entries()) {
    console.log(`${cyan(index === 0 ? 'top' : `${index} below`)} ${dim(diff)}`);
    console.log(listing(diff, archive ? 6 : 16));
  }

  step('A container', 'A container is one more layer on top, still empty. It costs no copy.');
  layerstack('create', '--name', 'build', image);
  output(layerstack('containers'));

  step('Mounted', 'All layers appear as one file system. The upper layer wins.');
  const merged = layerstack('mount', 'build').trim();
  const doomed = archive ? someFile(merged) : 'house/marble';
  if (archive) output(readdirSync(merged).join('  '));
  else console.log(listing(join(merged, 'house')));
  if (!archive)
    console.log(
      dim(
        'concrete comes from material2, which hides the bad concrete; rebar comes from material, below it.',
      ),
    );

  step('Building', `Now write in it: add ${green('house/frame')}${doomed ? `, remove ${red(doomed)}` : ''}.`);
  addFrame(merged);
  if (doomed) unlinkSync(join(merged, doomed));
  const upper = inspect('build').GraphDriver.Data.UpperDir;
  console.log(`The content of the container's own layer ${dim(upper)}`);
  console.log(listing(upper));
  console.log(
    dim('The layers below are unchanged: other containers of this image still see all their files.'),
  );

  runInside(merged, archive ? 'ls /' : 'ls; echo "concrete: $(cat concrete)"');

  step('Tidying up', 'Unmount, remove the container, then the whole scratch store.');
  layerstack('unmount', 'build');
  layerstack('rm', 'build');
  output(layerstack('containers'));
}

async function loadHouse() {
  const base = baseLayer();
  const house = (files) =>
    Object.entries(files).map(([name, text]) => ({ name: `house/${name}`, content: `${text}\n` }));
  const archive = join(scratch, 'house.tar');
  const layers = [
    { name: 'base', members: base.members },
    { name: 'material', members: house({ concrete: 'bad concrete', rebar: 'rebar' }) },
    { name: 'material2', members: house({ concrete: 'good concrete', marble: 'marble' }) },
  ];
  step('An image', 'Three layers in a docker-archive, as `docker save` writes it:');
  console.log(`  ${cyan('base')}       ${base.from}`);
  console.log(`  ${cyan('material')}   concrete "bad concrete", rebar`);
  console.log(`  ${cyan('material2')}  concrete "good concrete", marble`);
  writeFileSync(archive, await dockerArchive({ reference: 'house:1', command: ['/bin/sh'], layers }));
  console.log(`${archive}, ${statSync(archive).size} bytes`);

  step('Load it', 'Unpacked, verified against its digests, and durable when the command returns.');
  output(layerstack('load', '-i', archive));
  output(layerstack('images'));
  return 'house:1';
}

function loadOwn(archive) {
  step('Load it', 'Unpacked, verified against its digests, and durable when the command returns.');
  const loaded = layerstack('load', '-i', archive);
  output(loaded);
  output(layerstack('images'));
  const image = /^Loaded image(?: ID)?: (.+)$/m.exec(loaded)?.[1];
  if (!image) throw new Error(`${archive} holds no image`);
  return image;
}

/** Runs a shell command in the root file system: with runc, which reads the bundle, or else by chroot. */
function runInside(merged, words) {
  const script = `echo "hello from $(id -un 2>/dev/null || echo uid $(id -u)) in $PWD"; ${words}`;
  const shell = ['bin/sh', 'usr/bin/sh'].find((path) => existsSync(join(merged, path)));
  step('Running in it');
  if (!shell) {
    console.log('This image has no shell, so no command can run in it.');
    return;
  }
  const runc = find('runc');
  if (runc) {
    const bundle = join(scratch, 'bundle');
    layerstack('bundle', '-w', '/house', 'build', bundle, `/${shell}`, '-c', script);
    command(`runc run --bundle ${bundle} quickstart`);
    const ran = spawnSync(
      runc,
      ['--root', join(scratch, 'runc'), 'run', '--bundle', bundle, `quickstart-${process.pid}`],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    if (ran.status === 0) return output(ran.stdout);
    console.log(`runc cannot run containers here (${ran.stderr.trim().split('\n').at(-1)}); chroot can:`);
  } else console.log('runc is not installed; chroot shows the same files, without isolation.');
  command(`chroot ${merged} /${shell} -c 'cd /house; …'`);
  output(execFileSync('chroot', [merged, `/${shell}`, '-c', `cd /house; ${script}`], { encoding: 'utf8' }));
}

function addFrame(merged) {
  const house = join(merged, 'house');
  if (!existsSync(house)) execFileSync('mkdir', [house]);
  writeFileSync(join(house, 'frame'), 'frame\n');
}

/** Returns a regular file of the image that the tour can remove. */
function someFile(merged) {
  for (const directory of ['etc', 'usr/share', '.']) {
    const path = join(merged, directory);
    const names = existsSync(path) ? readdirSync(path, { withFileTypes: true }) : [];
    const file = names.find(
      (entry) => entry.isFile() && !/^(passwd|group|hosts|hostname|resolv\.conf|ld\.so|\.)/.test(entry.name),
    );
    if (file) return join(directory, file.name);
  }
  return undefined;
}

function inspect(name) {
  return JSON.parse(run('inspect', name))[0];
}

/** Runs a command and shows it. */
function layerstack(...args) {
  command(`layerstack ${args.map((arg) => (/^[\w./:=-]+$/.test(arg) ? arg : `'${arg}'`)).join(' ')}`);
  return run(...args);
}

function run(...args) {
  return execFileSync(process.execPath, [CLI, ...args], {
    env: { ...process.env, LAYERSTACK_ROOT: root },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 26,
  });
}

function cleanUp() {
  if (!existsSync(scratch)) return;
  try {
    if (existsSync(root)) run('rm', '--force', 'build');
  } catch {
    // It was removed in the tour, or never made.
  }
  rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
}
