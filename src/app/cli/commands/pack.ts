/** `layerstack pack`: packs images; prints the images that it has changed. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: 'IMAGE...',
  description:
    'Replace the extracted layers of images by their tars, verified, as `load --packed` stores them. dockerd no longer\n' +
    'sees the images, until `settle` extracts them again. Their containers keep working. Layers that other images have stay\n' +
    'extracted. An image whose layers all stay is refused: name all images with these layers in one command. An image that\n' +
    'is already packed stays as it is, and is not printed.',
  options: {},
  operands: { min: 1, max: Infinity, kinds: ['image'] },
  examples: [
    {
      command: 'layerstack pack app:1',
      does: 'keeps the layers of an image as tars, which are mounted',
    },
  ],
  async run(context, _values, names) {
    await using store = await context.open();
    for (const name of await store.images.pack(names, { signal: context.signal })) context.print(name);
  },
});
