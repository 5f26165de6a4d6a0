/** `layerstack unmount`: ends one use of each container's mount. */
import { defineCommand } from '../command.ts';
import { forEachName } from '../each.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER...',
  description:
    'Unmount the root file systems of containers, and print the names. A container stays mounted until it is unmounted as\n' +
    'often as it was mounted.',
  options: {
    force: {
      type: 'boolean',
      short: 'f',
      help: 'unmount it however often it was mounted, and even if it is in use',
    },
  },
  operands: { min: 1, max: Infinity, kinds: ['container'] },
  examples: [{ command: 'layerstack unmount build', does: 'unmounts the root file system' }],
  async run(context, values, names) {
    await using store = await context.open();
    await forEachName(context, names, async (name) => {
      await store.containers.unmount(name, { force: values.force, signal: context.signal });
      context.print(name);
    });
  },
});
