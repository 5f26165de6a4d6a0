/** `layerstack rmi`: prints the lines of `docker rmi`. Every name is tried; the errors come last. */
import { LayerstackError } from '../../../core/errors.ts';
import { defineCommand } from '../command.ts';
import { describeError } from '../errors.ts';
import { deletedLines } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE...',
  description:
    'Remove names from their images. An image whose last name is removed, or whose id is given, is deleted with the layers\n' +
    'that no other image has. The lines are printed as soon as an image is removed; the command ends when its bytes are\n' +
    'deleted.',
  options: {
    force: {
      type: 'boolean',
      short: 'f',
      help: 'also remove an image that has several names or that stopped containers use',
    },
    'no-prune': { type: 'boolean', help: 'keep its untagged parents' },
  },
  operands: { min: 1, max: Infinity, kinds: ['image'] },
  examples: [{ command: 'layerstack rmi app:1', does: 'removes a name, and with the last name the image' }],
  async run(context, values, names) {
    await using store = await context.open();
    const errors: LayerstackError[] = [];
    for (const name of names) {
      try {
        const options = { force: values.force, noPrune: values['no-prune'] };
        context.print(...deletedLines(await store.images.remove(name, options)));
      } catch (error) {
        if (!LayerstackError.is(error)) throw error;
        errors.push(error);
      }
    }
    // With --force a missing image counts as removed.
    const isFatal = values.force !== true || errors.some(({ kind }) => kind !== 'not-found');
    const last = isFatal ? errors.pop() : undefined;
    for (const error of errors) context.stderr.print(describeError(error).line);
    if (last) throw last;
  },
});
