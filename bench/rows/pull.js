/**
 * The row of `pull`: pulls the image with gzip layers from a registry on loopback, each time into a new store
 * on a new volume.
 */
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runs, timed, watched } from '../support/measure.js';
import { CLI, podmanOn, storeOn } from '../support/programs.js';
import { seed, withRegistry } from '../support/registry.js';
import { onFreshVolume } from '../support/volume.js';

async function byLayerstack(count, ...command) {
  const watches = [];
  const { values } = await runs(count, () =>
    onFreshVolume(async (volume) => {
      const args = [CLI, '--root', storeOn(volume), ...command];
      const watch = await watched(process.execPath, args, { volume });
      watches.push(watch);
      return watch.ms;
    }),
  );
  const memory = Math.round(Math.max(...watches.map((watch) => watch.memory)) / 1e6);
  const disk = Math.max(...watches.map((watch) => watch.disk / watch.final)).toFixed(3);
  return { values, notes: `peak memory ${memory} MB, disk high-water ${disk} × the final size` };
}

const byDockerd = (reference, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), ({ docker }) => timed(() => docker('pull', '-q', reference))),
    ),
  );

const byPodman = (reference, count) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman('info'); // creates its storage
      const result = await timed(() => podman('pull', '-q', '--tls-verify=false', reference));
      await podman.unmount();
      return result;
    }),
  );

export function pull(input, count) {
  return withRegistry(async (host) => {
    const reference = `${host}/bench:1`;
    await seed(input.archive, reference);
    return {
      job: '`pull` of gzip layers, loopback',
      budget: 1.2,
      floorName: "layerstack's own load of the gzip form",
      layerstack: await byLayerstack(count, 'pull', '-q', reference),
      dockerd: await byDockerd(reference, count),
      podman: await byPodman(reference, count),
      floor: await byLayerstack(count, 'load', '-q', '-i', await input.gzip()),
    };
  });
}
