/** `layerstack squash`: makes one snapshot of a run of snapshots; prints its id. */
import { defineCommand } from '../command.ts';
import { labelsOf } from '../labels.ts';

export const command = defineCommand({
  usage: '[OPTIONS] FROM TO',
  description:
    'Make one snapshot of a run of snapshots: of FROM, of TO above it, and of those between, and print its id. Its files\n' +
    'are hard links to theirs. Containers and snapshots on top of the old ones keep the same files. Old snapshots that\n' +
    'nothing needs any more are removed.',
  options: {
    name: { type: 'string', short: 'n', value: 'NAME', help: 'name of the new snapshot (default: none)' },
    label: {
      type: 'string',
      short: 'l',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'label of the new snapshot',
    },
  },
  operands: { min: 2, max: 2, kinds: ['none', 'none'] },
  examples: [
    {
      command: 'layerstack squash --name done base step-9',
      does: 'makes one snapshot of those from base to step-9',
    },
  ],
  async run(context, { name, label }, [from = '', to = '']) {
    await using store = await context.open();
    const options = { name, labels: labelsOf(label), signal: context.signal };
    context.print((await store.snapshots.squash(from, to, options)).id);
  },
});
