/** `layerstack snapshot`: takes a snapshot of a container; prints its id. */
import { LayerstackError } from '../../../core/errors.ts';
import type { SnapshotMode } from '../../../snapshot/store.ts';
import { defineCommand } from '../command.ts';
import { labelsOf } from '../labels.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  description:
    'Take a snapshot of a container, and print its id. The container keeps the same files. A snapshot has files only: no\n' +
    'processes, memory or sockets. It has every write that returned before the command.\n' +
    '\n' +
    '`seal` copies nothing, but no process may write meanwhile. A mounted container gets a new mount at its path.\n' +
    'Processes in the old mount cannot write until they enter the path again. `copy` copies the changes of the container\n' +
    'since its last snapshot, and processes may write meanwhile. `auto` seals, or copies where a seal is refused.',
  options: {
    name: { type: 'string', short: 'n', value: 'NAME', help: 'name of the snapshot (default: none)' },
    label: { type: 'string', short: 'l', multiple: true, value: 'NAME=VALUE', help: 'label of the snapshot' },
    mode: { type: 'string', value: 'auto|seal|copy', help: 'how to take the snapshot (default auto)' },
    freeze: { type: 'boolean', help: 'freeze the processes of the container during the copy, or fail' },
    expires: {
      type: 'string',
      value: 'TIME',
      help: 'time after which it is removed, unless something needs it: 1h, or a date (default: never)',
    },
    durable: { type: 'boolean', help: 'wait until all its files are on disk' },
  },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [
    { command: 'layerstack snapshot --name base build', does: 'takes a snapshot of a container' },
    {
      command: 'layerstack snapshot --mode copy --freeze build',
      does: 'takes one of a container that is in use',
    },
  ],
  async run(context, { name, label, mode, freeze, expires, durable }, [container = '']) {
    const labels = labelsOf(label);
    const { signal } = context;
    const options = { name, labels, mode: parseMode(mode), freeze, expires, durable, signal };
    await using store = await context.open();
    context.print((await store.snapshots.create(container, options)).id);
  },
});

const MODES: readonly SnapshotMode[] = ['auto', 'seal', 'copy'];

function parseMode(text: string | undefined): SnapshotMode | undefined {
  const mode = MODES.find((each) => each === text);
  if (text === undefined || mode !== undefined) return mode;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `--mode is ${MODES.join(', ')}, not ${JSON.stringify(text)}`,
    {
      key: '--mode',
    },
  );
}
