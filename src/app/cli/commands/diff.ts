/** `layerstack diff`: lists what was changed in a container or an archive, as `docker diff`. */
import { IMAGE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';
import { parseFormat, quoteName } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE',
  description:
    'List what was added (A), changed (C) and deleted (D) in a container, sorted. The container may be mounted. An argument\n' +
    'with a slash in it is the path of an archive, which must be mounted.',
  options: {
    format: { type: 'string', value: 'json', help: 'one JSON document for each change' },
    ...IMAGE_OPTIONS,
  },
  operands: { min: 1, max: 1, kinds: ['mountable'] },
  examples: [
    { command: 'layerstack diff build', does: 'lists what was changed in a container' },
    { command: 'layerstack diff ./app.tar', does: 'lists what was changed in a mounted archive' },
  ],
  async run(context, values, [operand = '']) {
    const format = parseFormat(values.format);
    const { image, platform } = values;
    const isArchive = isArchivePath(operand);
    if (!isArchive) refuseArchiveOptions(values);
    await using store = await context.open();
    const changes = isArchive
      ? await store.archives.diff(operand, { image, platform })
      : await store.containers.diff(operand);
    context.print(
      ...changes.map((change) =>
        format === 'json' ? JSON.stringify(change) : `${change.kind} ${quoteName(change.path)}`,
      ),
    );
  },
});
