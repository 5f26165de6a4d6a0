/** `layerstack fork`: makes containers with the files of a snapshot or container; prints their ids. */
import { defineCommand } from '../command.ts';
import { parseCount } from '../format.ts';
import { labelsOf } from '../labels.ts';

export const command = defineCommand({
  usage: '[OPTIONS] SNAPSHOT|CONTAINER',
  description:
    'Make containers with the files of a snapshot or a container, and print their ids: all of them or none. Of a\n' +
    'container, a snapshot is taken first. The forks have every write that returned before the command.',
  options: {
    count: { type: 'string', value: 'NUMBER', help: 'number of containers (default 1)' },
    name: {
      type: 'string',
      short: 'n',
      value: 'NAME',
      help: 'name of the container; of several, the names are NAME-1, NAME-2, ...',
    },
    label: {
      type: 'string',
      short: 'l',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'label of the containers',
    },
    durable: { type: 'boolean', help: 'wait until the containers are on disk' },
  },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [{ command: 'layerstack fork --count 3 --name job base', does: 'makes job-1, job-2 and job-3' }],
  async run(context, values, [source = '']) {
    const { name, durable } = values;
    const count = parseCount('--count', values.count);
    await using store = await context.open();
    const options = { count, name, labels: labelsOf(values.label), durable, signal: context.signal };
    context.print(...(await store.snapshots.fork(source, options)).map(({ id }) => id));
  },
});
