/**
 * `layerstack commit`: makes an image from the changes in a container or an archive; prints its id, as
 * `docker commit`.
 */
import { IMAGE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE [REPOSITORY[:TAG]]',
  description:
    'Make an image from the changes in a container or an archive, and print its id. An argument with a slash in it is the\n' +
    'path of an archive, which must be mounted. SOURCE_DATE_EPOCH in the environment is the date of the image; files in it\n' +
    'that are newer get this date.',
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
      : await store.containers.commit(operand, options);
    context.print(id);
  },
});
