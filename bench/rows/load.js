/** Loads an archive durably: plain and compressed. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, timed, watched } from '../support/measure.js';
import { CLI, podmanOn, storeOn, sync } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

/** Loads an archive with the command, each time into a new store on a new volume. */
async function byLayerstack(archive, count) {
  const watches = [];
  const { values } = await runs(count, () =>
    onFreshVolume(async (volume) => {
      const words = [CLI, '--root', storeOn(volume), 'load', '-i', archive];
      const watch = await watched(process.execPath, words, { volume });
      watches.push(watch);
      return watch.ms;
    }),
  );
  const most = (key) => Math.max(...watches.map((watch) => watch[key]));
  const disk = Math.max(...watches.map((watch) => watch.disk / watch.final));
  return {
    values,
    notes: `peak memory ${Math.round(most('memory') / 1e6)} MB, disk high-water ${disk.toFixed(3)} × the final size`,
  };
}

const byDockerd = (archive, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), ({ docker }) => timed(() => docker('load', '-q', '-i', archive))),
    ),
  );

const byPodman = (archive, count) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman('info'); // creates its storage
      return timed(() => podman.load(archive)).finally(() => podman.unmount());
    }),
  );

/** GNU tar -x of every layer, and the sync that makes it durable. */
const extraction = (layers, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      timed(async () => {
        for (const [index, layer] of layers.entries()) {
          const target = join(volume, String(index));
          mkdirSync(target);
          await sh('tar', ['-C', target, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-xpf', layer]);
        }
        await sync(volume);
      }),
    ),
  );

const INFLATE = `
import sys, zlib
inflater = zlib.decompressobj(31)
with open(sys.argv[1], "rb") as file:
    while chunk := file.read(1 << 20):
        inflater.decompress(chunk)
`;

/** zlib, on one thread, over all bytes. */
const inflation = (gzip, count) => runs(count, () => timed(() => sh('python3', ['-c', INFLATE, gzip])));

export async function load(input, count) {
  return {
    job: '`load`, durable',
    budget: 0.8,
    floorName: 'tar -x of the layers + sync',
    layerstack: await byLayerstack(input.archive, count),
    dockerd: await byDockerd(input.archive, count),
    podman: await byPodman(input.archive, count),
    floor: await extraction(await input.layers(), count),
  };
}

export async function loadGzip(input, count) {
  const archive = await input.gzip();
  const tar = await extraction(await input.layers(), count);
  const inflate = await inflation(archive, count);
  const sum = ({ values }) => values.reduce((total, value) => total + value, 0);
  const slower = sum(tar) > sum(inflate) ? tar : inflate;
  return {
    job: '`load` of the gzip form',
    budget: 1.1,
    floorName: `the slower of inflate and tar -x + sync (here ${slower === tar ? 'tar' : 'inflate'})`,
    layerstack: await byLayerstack(archive, count),
    dockerd: await byDockerd(archive, count),
    podman: await byPodman(archive, count),
    floor: slower,
  };
}
