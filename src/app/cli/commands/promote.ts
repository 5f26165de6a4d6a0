/**
 * `layerstack promote`: gives a container the files of a fork of it; prints the id of the snapshot below
 * it.
 */
import { defineCommand, UsageError } from '../command.ts';

export const command = defineCommand({
  usage: '--onto CONTAINER FORK|SNAPSHOT',
  description:
    'Give a container the files of a fork of it, or of a snapshot above its own. Its id, its name and its path stay. Print\n' +
    'the id of the snapshot below the container. A fork is sealed first, and stays. Neither container may be mounted. Of\n' +
    'several forks the first one wins: a container that was changed since the fork is refused.',
  options: {
    onto: { type: 'string', value: 'CONTAINER', help: 'the container that gets the files; required' },
  },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [
    { command: 'layerstack promote --onto build try-2', does: 'puts a fork in the place of its source' },
  ],
  async run(context, { onto }, [child = '']) {
    if (onto === undefined) throw new UsageError('name the container that gets the files: --onto CONTAINER');
    await using store = await context.open();
    context.print((await store.snapshots.promote(child, { onto, signal: context.signal })).id);
  },
});
