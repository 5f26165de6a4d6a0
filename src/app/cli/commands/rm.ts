/** `layerstack rm`: removes containers; prints the names, as `docker rm`. */
import { defineCommand } from '../command.ts';
import { forEachName } from '../each.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER...',
  description: 'Remove containers and everything that was written in them.',
  options: { force: { type: 'boolean', short: 'f', help: 'unmount them first' } },
  operands: { min: 1, max: Infinity, kinds: ['container'] },
  examples: [{ command: 'layerstack rm build', does: 'removes a container' }],
  async run(context, values, names) {
    await using store = await context.open();
    await forEachName(context, names, async (name) => {
      await store.containers.remove(name, { force: values.force, signal: context.signal });
      context.print(name);
    });
  },
});
