/** `layerstack rm-snapshot`: removes snapshots; prints each as it was given. */
import { defineCommand } from '../command.ts';
import { forEachName } from '../each.ts';

export const command = defineCommand({
  usage: 'SNAPSHOT [SNAPSHOT...]',
  description:
    'Remove snapshots. A snapshot cannot be removed while a container or another snapshot is on top of it.',
  options: {},
  operands: { min: 1, max: Number.POSITIVE_INFINITY, kinds: ['none'] },
  examples: [{ command: 'layerstack rm-snapshot base', does: 'removes a snapshot' }],
  async run(context, _values, names) {
    await using store = await context.open();
    await forEachName(context, names, async (name) => {
      await store.snapshots.remove(name, { signal: context.signal });
      context.print(name);
    });
  },
});
