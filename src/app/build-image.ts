/** `store.images.build`: names, pulls and events around a build. */
import { build } from '../build/build.ts';
import type { BuildOptions, BuildResult, BuildSource } from '../build/options.ts';
import { newImageName } from './new-image-name.ts';
import type { StoreParts } from './store-parts.ts';
import { StoreRegistry } from './store-registry.ts';

/** @see Images.build */
export async function buildImage(
  parts: StoreParts,
  source: BuildSource,
  options: BuildOptions,
): Promise<BuildResult> {
  const { root, layers, images, containers, imageEvents } = parts;
  const names = (options.tags ?? []).flatMap((reference) => newImageName({ reference }) ?? []);
  const registry = new StoreRegistry(parts);
  const settings = async () => (await import('./late/registry.ts')).storeSettings(root.layout.root, true);
  const result = await build(
    { root, layers, images, rwLayers: containers.rwLayers, settings },
    source,
    { ...options, names },
    async (reference, platform) => {
      const { signal, onProgress } = options;
      await registry.pull(reference, { platform, signal, onProgress, form: 'classic' });
    },
  );
  for (const tag of result.tags) await imageEvents.emit('tag', result.imageId, tag);
  return result;
}
