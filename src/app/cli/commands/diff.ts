/** `layerstack diff`: lists what a container changed, as `docker diff`. */
import { defineCommand } from '../command.ts';
import { parseFormat, quoteName } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  description:
    'List what was added (A), changed (C) and deleted (D) in a container, sorted. The container may be mounted.',
  options: { format: { type: 'string', value: 'json', help: 'one JSON document for each change' } },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [{ command: 'layerstack diff build', does: 'lists what was changed' }],
  async run(context, values, [container = '']) {
    const format = parseFormat(values.format);
    await using store = await context.open();
    const changes = await store.containers.diff(container);
    context.print(
      ...changes.map((change) =>
        format === 'json' ? JSON.stringify(change) : `${change.kind} ${quoteName(change.path)}`,
      ),
    );
  },
});
