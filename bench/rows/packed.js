/**
 * Layers that are mounted as they are: an archive in place, and packed images in a store. All programs run in
 * turn, because the aims are ratios of small times.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runsInTurn, sh, summary, timed, watched } from '../support/measure.js';
import { CLI, layerstack, podmanOn, storeOn, sync } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';
import { byRmi } from './rmi.js';

const inSeconds = ({ values }) => `${(summary(values).median / 1000).toFixed(2)} s`;
const most = (values) => `${Math.round(Math.max(...values) / 1e6)} MB`;
const plus = (measured, ms) => ({ values: measured.values.map((value) => value + ms) });

/** Extracts the layers with GNU tar, and makes that durable. */
const extract = (layers) =>
  onFreshVolume((volume) =>
    timed(async () => {
      for (const layer of layers)
        await sh('tar', ['-C', volume, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-xpf', layer]);
      await sync(volume);
    }),
  );

/** The way of a packed form, and the ways of the other programs, to a root file system that runs `true`. */
const toChroot = (input, layers, memory) => ({
  unverified: () => mountInPlace(input.archive, ['--no-verify'], memory),
  verified: () => mountInPlace(input.archive, [], memory),
  classic: () =>
    onFreshVolume((volume) =>
      timed(async () => {
        await layerstack(volume, 'load', '-i', input.archive);
        await chroot(await layerstack(volume, 'mount', await layerstack(volume, 'create', input.id)));
      }),
    ),
  dockerd: () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), ({ docker }) =>
        timed(async () => {
          await docker('load', '-q', '-i', input.archive);
          await docker('run', '--rm', '--network', 'none', input.id, '/bin/true');
        }),
      ),
    ),
  podman: () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman('info'); // creates its storage
      return timed(async () => {
        await podman.load(input.archive);
        await chroot(await podman('mount', await podman.create(input.id)));
      }).finally(() => podman.unmount());
    }),
  extraction: () => extract(layers),
  start: () => timed(() => sh(process.execPath, ['-e', '0'])),
  hash: () => timed(() => sh('openssl', ['dgst', '-sha256', input.archive])),
});

const chroot = (root) => sh('chroot', [root, '/bin/true']);

/** Mounts the archive on a new volume's store; its changes would go there. */
const mountInPlace = (archive, options, peaks) =>
  onFreshVolume(async (volume) => {
    const words = [CLI, '--root', storeOn(volume), 'mount', ...options, archive];
    const { ms, output, memory } = await watched(process.execPath, words, { volume });
    peaks.push(memory);
    const run = await timed(() => chroot(output));
    await layerstack(volume, 'unmount', '--force', archive);
    return ms + run;
  });

export async function inPlace(input, count) {
  const memory = [];
  const measured = await runsInTurn(count, toChroot(input, await input.layers(), memory));
  const { unverified, verified, classic, dockerd, podman, extraction, start, hash } = measured;
  const notes =
    `the classic load, a container, its mount and \`true\` take ${inSeconds(classic)}, tar -x of the layers + sync ` +
    `${inSeconds(extraction)}; peak memory ${most(memory)}`;
  const others = { budget: 1, dockerd, podman };
  const least = plus(start, 150);
  const pass = { values: least.values.map((value, run) => value + hash.values[run]) };
  return [
    {
      job: 'archive to `chroot true`, in place, unverified',
      floorName: "Node's start + 0.15 s",
      ...{ layerstack: { ...unverified, notes }, floor: least, ...others },
    },
    {
      job: 'archive to `chroot true`, in place',
      floorName: "Node's start + 0.15 s + SHA-256 of the archive on one core, by openssl",
      ...{ layerstack: verified, floor: pass, ...others },
    },
  ];
}

/** The loads of one archive: packed and classic by layerstack, and by the others. */
const loads = (archive, memory) => ({
  layerstack: () =>
    onFreshVolume(async (volume) => {
      const words = [CLI, '--root', storeOn(volume), 'load', '--packed', '-i', archive];
      const watch = await watched(process.execPath, words, { volume });
      memory.push(watch.memory);
      return watch.ms;
    }),
  classic: () => onFreshVolume((volume) => timed(() => layerstack(volume, 'load', '-i', archive))),
  dockerd: () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), ({ docker }) => timed(() => docker('load', '-q', '-i', archive))),
    ),
  podman: () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman('info'); // creates its storage
      return timed(() => podman.load(archive)).finally(() => podman.unmount());
    }),
});

async function loadRow(count, archive, { layers, ...row }, floor) {
  const memory = [];
  const programs = { ...loads(archive, memory), extraction: () => extract(layers), floor };
  const { layerstack: ours, classic, extraction, ...others } = await runsInTurn(count, programs);
  const notes =
    `the classic load takes ${inSeconds(classic)}, tar -x of the layers + sync ${inSeconds(extraction)}; ` +
    `peak memory ${most(memory)}`;
  return { ...row, layerstack: { ...ours, notes }, ...others };
}

export async function loadPacked(input, count) {
  const layers = await input.layers();
  const row = {
    job: '`load --packed`, durable',
    budget: 1.15,
    floorName: 'cp of the archive + sync',
    layers,
  };
  return loadRow(count, input.archive, row, () =>
    onFreshVolume((volume) =>
      timed(async () => {
        await sh('cp', [input.archive, volume]);
        await sync(volume);
      }),
    ),
  );
}

const INFLATE = `
import sys, zlib
inflater = zlib.decompressobj(31)
with open(sys.argv[1], "rb") as file:
    while chunk := file.read(1 << 20):
        inflater.decompress(chunk)
`;

export async function loadPackedGzip(input, count) {
  const { archive, members } = await input.gzipLayers();
  const cores = String(availableParallelism());
  const row = {
    job: '`load --packed` of gzip layers',
    budget: 1.05,
    floorName: `zlib's inflate of the layers, ${cores} at a time, to nowhere`,
    layers: await input.layers(),
  };
  const inflate =
    'cores=$1 code=$2; shift 2; printf "%s\\n" "$@" | xargs -P "$cores" -n 1 python3 -c "$code"';
  return loadRow(count, archive, row, () =>
    timed(() => sh('sh', ['-c', inflate, 'sh', cores, INFLATE, ...members])),
  );
}

export const rmiPacked = (input, count) =>
  byRmi(input, count, {
    name: '`rmi` of a packed image',
    load: ['load', '--packed'],
    below: 'layerstack/packed',
  });
