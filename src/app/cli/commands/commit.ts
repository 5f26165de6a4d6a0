/**
 * `layerstack commit`: makes an image from the changes in a container, snapshot or archive; prints its id, as
 * `docker commit`.
 */
import type { CommitOptions } from '../../../container/commit.ts';
import type { ImageID } from '../../../core/digest.ts';
import { undefinedIf } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import { IMAGE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|SNAPSHOT|ARCHIVE [REPOSITORY[:TAG]]',
  description:
    'Make an image from the changes in a container, a snapshot or an archive, and print its id. An argument with a slash in\n' +
    'it is the path of an archive, which must be mounted. SOURCE_DATE_EPOCH in the environment is the date of the image;\n' +
    'files in it that are newer get this date.',
  options: {
    author: { type: 'string', short: 'a', value: 'NAME', help: 'author, e.g. "A <a@example.org>"' },
    message: { type: 'string', short: 'm', value: 'TEXT', help: 'commit message' },
    change: {
      type: 'string',
      short: 'c',
      multiple: true,
      value: 'INSTRUCTION',
      help: 'Dockerfile instruction for the image, e.g. \'CMD ["sh"]\'',
    },
    ...IMAGE_OPTIONS,
  },
  operands: { min: 1, max: 2, kinds: ['mountable', 'none'] },
  examples: [
    {
      command: "layerstack commit -m 'say hello' -c 'ENV GREETING=hello' build app:2",
      does: 'makes an image from a container',
    },
    { command: 'layerstack commit ./app.tar app:2', does: 'makes an image from a mounted archive' },
  ],
  async run(context, values, [operand = '', reference]) {
    const isArchive = isArchivePath(operand);
    if (!isArchive) refuseArchiveOptions(values);
    const progress = new ProgressDisplay(context.stderr, { quiet: true, doing: 'committing' });
    await using store = await context.open();
    const options = {
      reference,
      author: values.author,
      message: values.message,
      changes: values.change,
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    };
    const { image, platform } = values;
    const id = isArchive
      ? await store.archives.commit(operand, { ...options, image, platform })
      : await commit(store, operand, options);
    context.print(id);
  },
});

async function commit(
  store: Layerstack,
  name: string,
  options: CommitOptions & { readonly reference: string | undefined },
): Promise<ImageID> {
  const container = await undefinedIf(store.containers.get(name), 'ERR_CONTAINER_NOT_FOUND');
  return container ? store.containers.commit(container, options) : store.snapshots.commit(name, options);
}
