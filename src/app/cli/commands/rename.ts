/** `layerstack rename`: gives a container another name; prints nothing, as `docker rename`. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: 'CONTAINER NAME',
  description:
    'Give a container another name. The change is atomic: a crash leaves the old name or the new one.',
  options: {},
  operands: { min: 2, max: 2, kinds: ['container', 'none'] },
  examples: [{ command: 'layerstack rename build build-1', does: 'gives a container another name' }],
  async run(context, _values, [container = '', name = '']) {
    await using store = await context.open();
    await store.containers.rename(container, name);
  },
});
