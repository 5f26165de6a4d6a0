/** `layerstack commit`: a container's changes as an image; prints its id, as `docker commit`. */
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [REPOSITORY[:TAG]]',
  description:
    "Makes an image of a container's changes and prints its id. SOURCE_DATE_EPOCH in the environment gives the date\n" +
    'of the image, and the latest one of its files.',
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
      does: 'makes an image of a container',
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
