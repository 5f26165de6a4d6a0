/** `layerstack rollback`: puts a container back to a snapshot. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER SNAPSHOT',
  description:
    'Put a container that is not mounted back to a snapshot of the same image. Its id, its name and its path stay. What\n' +
    'it has is deleted. With --keep a snapshot of that is taken first, and its id printed.',
  options: { keep: { type: 'boolean', help: 'take a snapshot of what the container has first' } },
  operands: { min: 2, max: 2, kinds: ['container', 'none'] },
  examples: [
    { command: 'layerstack rollback --keep build base', does: 'puts a container back to a snapshot' },
  ],
  async run(context, { keep }, [container = '', snapshot = '']) {
    await using store = await context.open();
    const kept = await store.snapshots.rollback(container, snapshot, { keep, signal: context.signal });
    if (kept) context.print(kept.id);
  },
});
