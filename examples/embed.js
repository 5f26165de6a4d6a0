/**
 * The shortest program that embeds layerstack. It loads an archive, mounts a container of its image, reads a
 * file, and cleans up.
 *
 *   node examples/embed.js ARCHIVE [ROOT]
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Layerstack, LayerstackError } from 'layerstack';

const [archive, root = '/var/lib/layerstack'] = process.argv.slice(2);

const store = await Layerstack.open({ root });
try {
  const { images } = await store.images.load(archive, {
    onProgress: (event) => event.type === 'layer-done' && console.error(`unpacked ${event.diffId}`),
    signal: AbortSignal.timeout(600_000),
  });
  const image = images[0]?.references[0] ?? images[0]?.id;
  const container = await store.containers.create(image);
  try {
    const mount = await store.containers.mount(container);
    try {
      console.log(await readFile(join(mount.path, 'etc/passwd'), 'utf8'));
    } finally {
      await mount.unmount();
    }
  } finally {
    await store.containers.remove(container);
  }
} catch (error) {
  if (!LayerstackError.is(error)) throw error;
  console.error(`${error.code} (${error.kind}): ${error.message}`);
  process.exitCode = 1;
} finally {
  await store.close();
}
