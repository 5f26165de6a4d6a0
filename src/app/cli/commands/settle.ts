/** `layerstack settle`: brings packed images into Docker's form; prints the images that it has changed. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: 'IMAGE...',
  description:
    "Extract the layers of packed images into Docker's form, verified, so that dockerd sees the images. Containers of\n" +
    'them keep working. An image that is in this form already stays as it is, and is not printed.',
  options: {},
  operands: { min: 1, max: Infinity, kinds: ['image'] },
  examples: [
    {
      command: 'layerstack settle app:1',
      does: 'extracts the layers of an image that `load --packed` stored',
    },
  ],
  async run(context, _values, names) {
    await using store = await context.open();
    for (const name of names)
      if (await store.images.settle(name, { signal: context.signal })) context.print(name);
  },
});
