/** `layerstack unmount`: gives back one use of each container's mount. */
import { defineCommand } from '../command.ts';
import { forEachName } from '../each.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER...',
  description:
    'Unmounts the root file systems of containers, once for each time they were mounted, and prints the names.',
  options: {
    force: { type: 'boolean', short: 'f', help: 'however often it was mounted, and even if it is in use' },
  },
  operands: { min: 1, max: Infinity, kinds: ['container'] },
  examples: [{ command: 'layerstack unmount build', does: 'takes the mount away' }],
  async run(context, values, names) {
    await using store = await context.open();
    await forEachName(context, names, async (name) => {
      await store.containers.unmount(name, { force: values.force, signal: context.signal });
      context.print(name);
    });
  },
});
