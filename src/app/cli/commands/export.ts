/** `layerstack export`: writes a container's root file system as a tar, as `docker export`. */
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [> TAR]',
  description:
    'Write the root file system of a container as a tar, without the file systems that are mounted in it.\n' +
    'SOURCE_DATE_EPOCH in the environment is the date of files in the tar that are newer.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'write to a file instead of stdout' },
    quiet: { type: 'boolean', short: 'q', help: 'no progress' },
  },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [
    { command: 'layerstack export -o rootfs.tar build', does: 'writes a tar' },
    { command: 'layerstack export build | tar -t', does: 'lists its files' },
  ],
  async run(context, values, [container = '']) {
    const { requireTarget, writeArchive } = await archiveOutput();
    requireTarget(context, values.output);
    const progress = new ProgressDisplay(context.stderr, {
      quiet: values.quiet === true,
      doing: 'exporting',
    });
    await using store = await context.open();
    const archive = store.containers.export(container, {
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    });
    try {
      await writeArchive(store, archive, values.output, context.signal);
    } finally {
      progress.clear();
    }
  },
});
