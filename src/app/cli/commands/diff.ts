/** `layerstack diff`: lists what was changed in a container, snapshot or archive, as `docker diff`. */
import { undefinedIf } from '../../../core/errors.ts';
import { IMAGE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import type { Change } from '../../../rwlayer/changes.ts';
import type { Layerstack } from '../../layerstack.ts';
import { defineCommand, UsageError } from '../command.ts';
import { parseFormat, quoteName } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|SNAPSHOT|ARCHIVE [CONTAINER|SNAPSHOT]',
  description:
    'List what was added (A), changed (C) and deleted (D), sorted: in a container since its image, or in a snapshot since\n' +
    'its parent. With two arguments: the changes from the first one to the second, which has the same image. Containers\n' +
    'may be mounted. An argument with a slash in it is the path of an archive, which must be mounted.',
  options: {
    format: { type: 'string', value: 'json', help: 'one JSON document for each change' },
    ...IMAGE_OPTIONS,
  },
  operands: { min: 1, max: 2, kinds: ['mountable', 'container'] },
  examples: [
    { command: 'layerstack diff build', does: 'lists what was changed in a container' },
    { command: 'layerstack diff base build', does: 'lists what was changed since a snapshot' },
    { command: 'layerstack diff ./app.tar', does: 'lists what was changed in a mounted archive' },
  ],
  async run(context, values, [operand = '', other]) {
    const format = parseFormat(values.format);
    const { image, platform } = values;
    const isArchive = isArchivePath(operand);
    if (!isArchive) refuseArchiveOptions(values);
    if (isArchive && other !== undefined) throw new UsageError('an archive is not compared: give it alone');
    await using store = await context.open();
    const changes = isArchive
      ? await store.archives.diff(operand, { image, platform })
      : await compare(store, operand, other);
    context.print(
      ...changes.map((change) =>
        format === 'json' ? JSON.stringify(change) : `${change.kind} ${quoteName(change.path)}`,
      ),
    );
  },
});

async function compare(store: Layerstack, first: string, second: string | undefined): Promise<Change[]> {
  if (second !== undefined) return store.snapshots.diff(first, second);
  const container = await undefinedIf(store.containers.get(first), 'ERR_CONTAINER_NOT_FOUND');
  return container ? store.containers.diff(container) : store.snapshots.diff(first);
}
