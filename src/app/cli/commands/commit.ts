/** `layerstack commit`: makes an image from a container's changes; prints its id, as `docker commit`. */
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [REPOSITORY[:TAG]]',
  description:
    "Make an image from a container's changes and print its id. SOURCE_DATE_EPOCH in the environment is the date of\n" +
    'the image; files in it that are newer get this date.',
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
  },
  operands: { min: 1, max: 2, kinds: ['container', 'none'] },
  examples: [
    {
      command: "layerstack commit -m 'say hello' -c 'ENV GREETING=hello' build app:2",
      does: 'makes an image from a container',
    },
  ],
  async run(context, values, [container = '', reference]) {
    const progress = new ProgressDisplay(context.stderr, { quiet: true, doing: 'committing' });
    await using store = await context.open();
    const id = await store.containers.commit(container, {
      reference,
      author: values.author,
      message: values.message,
      changes: values.change,
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    });
    context.print(id);
  },
});
