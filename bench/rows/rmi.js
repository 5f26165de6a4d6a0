/** Deletes an image: the time until the caller has the answer, and until the bytes are deleted. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, timed } from '../support/measure.js';
import { layerstack, podmanOn, storeOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

/** Measures with the store open. `close` waits until the bytes are deleted. */
async function byLayerstack(input, count, load) {
  const returned = [];
  const deleted = await runs(count, () =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, ...load, '-i', input.archive);
      await sync(volume);
      const start = performance.now();
      await withStore(volume, async (store) => {
        const opened = performance.now();
        await store.images.remove(input.id, { force: true });
        returned.push(performance.now() - opened);
      });
      return performance.now() - start;
    }),
  );
  return [{ values: returned }, deleted];
}

const byDockerd = (input, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), async ({ docker, api }) => {
        await docker('load', '-q', '-i', input.archive);
        await sync(volume);
        return timed(() => api('DELETE', `/images/sha256:${input.id}?force=1`));
      }),
    ),
  );

const byPodman = (input, count) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman.load(input.archive);
      await sync(volume);
      return timed(() => podman('rmi', '-f', input.id)).finally(() => podman.unmount());
    }),
  );

/** Deletes what the store keeps of the image in the directory `below` it. */
const byRm = (input, count, { load, below }) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, ...load, '-i', input.archive);
      await sync(volume);
      const directory = join(storeOn(volume), below);
      return timed(() => sh('rm', ['-rf', ...readdirSync(directory).map((name) => join(directory, name))]));
    }),
  );

/**
 * The two rows of a form of images.
 * @param form.name how the rows call it
 * @param form.load the words of the command that loads it
 * @param form.below the directory of the store with its files
 */
export async function byRmi(input, count, { name, ...form }) {
  const [returned, deleted] = await byLayerstack(input, count, form.load);
  const others = {
    floorName: 'rm -rf of its directories',
    dockerd: await byDockerd(input, count),
    podman: await byPodman(input, count),
    floor: await byRm(input, count, form),
  };
  return [
    { job: `${name} returns (store open)`, budgetMs: 50, layerstack: returned, ...others },
    { job: `${name}, all bytes deleted`, budget: 1, layerstack: deleted, ...others },
  ];
}

export const rmi = (input, count) =>
  byRmi(input, count, { name: '`rmi`', load: ['load'], below: 'overlay2' });
