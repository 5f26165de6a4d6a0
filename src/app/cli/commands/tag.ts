/** `layerstack tag`: names an image; prints nothing, as `docker tag`. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: 'IMAGE NAME[:TAG]',
  description: 'Give an image a name (tag `latest` if none is given). Another image with that name loses it.',
  options: {},
  operands: { min: 2, max: 2, kinds: ['image', 'none'] },
  examples: [{ command: 'layerstack tag app:1 app:stable', does: 'gives an image a second name' }],
  async run(context, _values, [image = '', reference = '']) {
    await using store = await context.open();
    await store.images.tag(image, reference);
  },
});
