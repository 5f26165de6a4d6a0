/** Which images of a store count as steps. */
import { expect, test } from 'vitest';
import { BuiltImages, StageCache } from '../../../src/build/cache.ts';
import { commented, stepImage } from '../../../src/build/step-image.ts';
import { EMPTY_CONTAINER_CONFIG } from '../../../src/image/container-config.ts';
import { ImageStore } from '../../../src/image/store.ts';
import { FakeLayers, imageConfig, testRoot } from '../image/support.ts';

test('an image counts on the image that it was made on, and not on another that an archive names', async () => {
  const { root } = await testRoot();
  const layers = new FakeLayers();
  const images = new ImageStore(root, layers.store);
  const [parent, other] = [imageConfig(layers.add(1)), imageConfig(layers.add(2))];
  const platform = { os: 'linux', architecture: 'amd64' };
  const config = EMPTY_CONTAINER_CONFIG;
  const step = commented(config, ['ENV A=1']);
  const child = stepImage({ parent, platform, author: '', config, step, sourceDateEpoch: 1 });
  const built = { sourceDateEpoch: 1 };
  const find = (on: typeof parent) =>
    new StageCache(images, {
      ...{ enabled: true, platform, sources: undefined, built: new BuiltImages(images, 1) },
    }).find(on, step);

  await images.add([{ config: parent }, { config: other }, { config: child, parent: parent.id, built }], []);
  expect((await find(parent))?.id).toBe(child.id);
  await images.add([{ config: child, parent: other.id }], []);
  expect((await images.built())[0]?.parent).toBe(other.id);
  expect(await find(other)).toBeUndefined();
});
