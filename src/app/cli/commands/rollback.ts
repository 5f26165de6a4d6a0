/** `layerstack rollback`: puts a container back to a snapshot. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER SNAPSHOT',
  description:
    'Put a container back to a snapshot of the same image. Its id, its name and its path stay. Its current files are deleted.\n' +
    'With --keep a snapshot of them is taken first, and its id is printed. A mounted container gets a new mount at its path.',
  options: {
    keep: { type: 'boolean', help: 'first take a snapshot of the current files' },
    force: {
      type: 'boolean',
      short: 'f',
      help: 'roll back even while processes work in it; they keep the old files, and cannot write',
    },
  },
  operands: { min: 2, max: 2, kinds: ['container', 'none'] },
  examples: [
    { command: 'layerstack rollback --keep build base', does: 'puts a container back to a snapshot' },
  ],
  async run(context, { keep, force }, [container = '', snapshot = '']) {
    await using store = await context.open();
    const kept = await store.snapshots.rollback(container, snapshot, { keep, force, signal: context.signal });
    if (kept) context.print(kept.id);
  },
});
