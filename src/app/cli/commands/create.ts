/** `layerstack create`: makes a container; prints its id. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import { defineCommand } from '../command.ts';
import { containerOf, CONTAINER_OPTIONS } from '../container-options.ts';
import { HOST_OPTIONS } from '../host-options.ts';

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  description:
    'Make a container, an empty writable layer on an image, and print its id. A bundle of the container runs COMMAND. The\n' +
    "options are those of docker's `create`.",
  options: {
    durable: { type: 'boolean', help: 'print the id only when the container is on disk' },
    'ignore-unsupported': {
      type: 'boolean',
      help: 'keep options that no bundle can carry, and warn, instead of refusing them',
    },
    ...CONTAINER_OPTIONS,
    ...HOST_OPTIONS,
  },
  operandsEndOptions: true,
  operands: { min: 1, max: Infinity, kinds: ['image', 'none'] },
  examples: [
    { command: 'layerstack create --name build app:1', does: 'makes a container' },
    {
      command: 'layerstack create --name small --memory 64m --read-only app:1',
      does: 'makes one with limits',
    },
  ],
  async run(context, values, [image = '', ...words]) {
    const wanted = await containerOf(values, words);
    await using store = await context.open();
    const container = await store.containers.create(image, {
      ...wanted,
      name: values.name,
      durable: values.durable,
      ignoreUnsupported: values['ignore-unsupported'],
      onUnsupported: (unsupported) =>
        context.stderr.print(`layerstack: warning: ${unsupportedText(unsupported)}`),
      signal: context.signal,
    });
    context.print(container.id);
  },
});
