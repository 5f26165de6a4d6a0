/** `layerstack rmi`: the lines of `docker rmi`. Every name is tried; the errors come last. */
import { LayerstackError } from '../../../core/errors.ts';
import { defineCommand } from '../command.ts';
import { describeError } from '../errors.ts';
import { deletedLines } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE...',
  description:
    'Takes the names from their images; an image whose last name goes, or whose id is given, is deleted with the layers\n' +
    'that no other has. The lines are printed as soon as it is gone; the command ends when its bytes are deleted.',
  options: {
    force: { type: 'boolean', short: 'f', help: 'also if stopped containers use it or it has several names' },
    'no-prune': { type: 'boolean', help: 'leave its untagged parents' },
  },
  operands: { min: 1, max: Infinity, kinds: ['image'] },
  examples: [{ command: 'layerstack rmi app:1', does: 'takes a name away, and the image with its last one' }],
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
    // With --force an image that is not there is as good as removed.
    const isFatal = values.force !== true || errors.some(({ kind }) => kind !== 'not-found');
    const last = isFatal ? errors.pop() : undefined;
    for (const error of errors) context.stderr.print(describeError(error).line);
    if (last) throw last;
  },
});
