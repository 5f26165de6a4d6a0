/** `save` and `export` into a pipe, by the commands. */
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, timed } from '../support/measure.js';
import { CLI, floorOn, layerstack, podmanOn, storeOn, sync } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

/** Milliseconds of a command whose output is read through a pipe. */
const piped = (words, env) =>
  timed(() => sh('bash', ['-o', 'pipefail', '-c', '"$@" | cat >/dev/null', 'sh', ...words], { env }));

/** Runs `measured` on new volumes, each with the image in layerstack's store. */
const withImage = (input, count, measured) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, 'load', '-i', input.archive);
      await sync(volume);
      return measured(volume);
    }),
  );

const byLayerstack = (input, count, wordsOf) =>
  withImage(input, count, async (volume) =>
    piped([process.execPath, CLI, '--root', storeOn(volume), ...(await wordsOf(volume))]),
  );

const byDockerd = (input, count, wordsOf) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), async ({ docker, env }) => {
        await docker('load', '-q', '-i', input.archive);
        await sync(volume);
        return piped(['docker', ...(await wordsOf(docker))], env);
      }),
    ),
  );

const byPodman = (input, count, wordsOf) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman.load(input.archive);
      await sync(volume);
      const words = await wordsOf(podman);
      return piped(['podman', ...podman.options, ...words]).finally(() => podman.unmount());
    }),
  );

const SUM = '"$1" cat "$2" | openssl dgst -sha256';

export async function save(input, count) {
  const words = () => ['save', input.id];
  return {
    job: '`save` to a pipe',
    budget: 1.5,
    floorName: "a read of all the layers' files in C, piped into SHA-256",
    layerstack: await byLayerstack(input, count, words),
    dockerd: await byDockerd(input, count, words),
    podman: await byPodman(input, count, words),
    floor: await withImage(input, count, async (volume) => {
      const program = await floorOn(volume);
      const overlay = join(storeOn(volume), 'overlay2');
      return timed(() => sh('bash', ['-o', 'pipefail', '-c', SUM, 'sh', program, overlay]));
    }),
  };
}

export async function exportTree(input, count) {
  return {
    job: '`export` to a pipe',
    floorName: 'GNU tar of the mounted tree',
    layerstack: await byLayerstack(input, count, async (volume) => [
      'export',
      await layerstack(volume, 'create', input.id),
    ]),
    dockerd: await byDockerd(input, count, async (docker) => [
      'export',
      await docker('create', '--network', 'none', input.id, 'true'),
    ]),
    podman: await byPodman(input, count, async (podman) => ['export', await podman.create(input.id)]),
    floor: await withImage(input, count, async (volume) => {
      const container = await layerstack(volume, 'create', input.id);
      const tree = await layerstack(volume, 'mount', container);
      try {
        return await piped(['tar', '-C', tree, '--numeric-owner', '--xattrs', '-cf', '-', '.']);
      } finally {
        await layerstack(volume, 'unmount', container);
      }
    }),
  };
}
