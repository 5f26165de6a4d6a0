/**
 * Lists a store of 1,000 images and 10,000 layers, by the commands. dockerd, which has them in memory, runs
 * on the same root.
 */
import { withDockerd } from '../support/dockerd.js';
import { crowd } from '../support/crowd.js';
import { runs, runsInTurn, sh, timed } from '../support/measure.js';
import { layerstack, storeOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

const IMAGES = 1000;

/** Passes a volume to `work` whose store has all images and was listed once. */
const onCrowd = (work) =>
  onFreshVolume(async (volume) => {
    await withStore(volume, async () => undefined);
    crowd(storeOn(volume), IMAGES);
    await sync(volume);
    // The catalog does not trust a directory that has just changed; see image/catalog.ts.
    await sh('sleep', ['1.1']);
    const lines = (await layerstack(volume, 'images', '-q')).trim().split('\n').length;
    if (lines !== IMAGES) throw new Error(`${lines} images are listed instead of ${IMAGES}`);
    return work(volume);
  });

export const images = async (_input, count) => {
  const ours = await onCrowd((volume) =>
    runsInTurn(count, {
      layerstack: () => timed(() => layerstack(volume, 'images')),
      floor: () => timed(() => sh(process.execPath, ['-e', '0'])),
    }),
  );
  const dockerd = await onCrowd((volume) =>
    withDockerd(storeOn(volume), ({ docker }) => runs(count, () => timed(() => docker('images')))),
  );
  return {
    job: '`images` of 1,000 images, 10,000 layers',
    budget: 3.75, // 150 ms if Node's own start takes 40
    floorName: "Node's own start",
    ...ours,
    dockerd,
  };
};
