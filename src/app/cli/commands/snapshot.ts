/** `layerstack snapshot`: takes a snapshot of a container; prints its id. */
import { defineCommand } from '../command.ts';
import { labelsOf } from '../labels.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  description:
    'Take a snapshot of a container that is not mounted, and print its id. The container shows the same afterwards. A\n' +
    'snapshot has files only: no processes, memory or sockets.',
  options: {
    name: { type: 'string', short: 'n', value: 'NAME', help: 'name of the snapshot (default: none)' },
    label: { type: 'string', short: 'l', multiple: true, value: 'NAME=VALUE', help: 'label of the snapshot' },
    expires: {
      type: 'string',
      value: 'TIME',
      help: 'when the next command removes it, unless something needs it: 1h, or a date (default: never)',
    },
    durable: { type: 'boolean', help: 'wait until everything in it is on disk' },
  },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [{ command: 'layerstack snapshot --name base build', does: 'takes a snapshot of a container' }],
  async run(context, { name, label, expires, durable }, [container = '']) {
    await using store = await context.open();
    const options = { name, labels: labelsOf(label), expires, durable, signal: context.signal };
    context.print((await store.snapshots.create(container, options)).id);
  },
});
