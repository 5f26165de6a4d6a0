/** Deletes an image: the time until the caller has the answer, and until the bytes are deleted. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, timed } from '../support/measure.js';
import { layerstack, podmanOn, storeOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

/** Measures with the store open. `close` waits until the bytes are deleted. */
async function byLayerstack(input, count) {
  const returned = [];
  const deleted = await runs(count, () =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, 'load', '-i', input.archive);
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

const byRm = (input, count) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, 'load', '-i', input.archive);
      await sync(volume);
      const overlay = join(storeOn(volume), 'overlay2');
      return timed(() => sh('rm', ['-rf', ...readdirSync(overlay).map((name) => join(overlay, name))]));
    }),
  );

export async function rmi(input, count) {
  const [returned, deleted] = await byLayerstack(input, count);
  const others = {
    floorName: 'rm -rf of its directories',
    dockerd: await byDockerd(input, count),
    podman: await byPodman(input, count),
    floor: await byRm(input, count),
  };
  return [
    { job: '`rmi` returns (store open)', budgetMs: 50, layerstack: returned, ...others },
    { job: '`rmi`, all bytes deleted', budget: 1, layerstack: deleted, ...others },
  ];
}
