/** `layerstack export`: writes the root file system of a container or an archive, as `docker export`. */
import { archiveChoice, ARCHIVE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE [> TAR]',
  description:
    'Write the root file system of a container as a tar, without the file systems that are mounted in it.\n' +
    'An argument with a slash in it is the path of an archive. The command mounts the archive itself if it is not mounted.\n' +
    'Files that are newer than SOURCE_DATE_EPOCH, in seconds since 1970 in the environment, get that date.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'write to a file instead of stdout' },
    quiet: { type: 'boolean', short: 'q', help: 'no progress' },
    ...ARCHIVE_OPTIONS,
  },
  operands: { min: 1, max: 1, kinds: ['mountable'] },
  examples: [
    { command: 'layerstack export -o rootfs.tar build', does: 'writes a tar' },
    { command: 'layerstack export build | tar -t', does: 'lists its files' },
    {
      command: 'layerstack export -o rootfs.tar ./app.tar',
      does: 'writes a tar of all that an archive shows',
    },
  ],
  async run(context, values, [operand = '']) {
    const { requireTarget, writeArchive } = await archiveOutput();
    requireTarget(context, values.output);
    const progress = new ProgressDisplay(context.stderr, {
      quiet: values.quiet === true,
      doing: 'exporting',
    });
    const isArchive = isArchivePath(operand);
    if (!isArchive) refuseArchiveOptions(values);
    await using store = await context.open();
    const options = {
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    };
    const tar = isArchive
      ? store.archives.export(operand, { ...options, ...archiveChoice(values) })
      : store.containers.export(operand, options);
    try {
      await writeArchive(store, tar, values.output, context.signal);
    } finally {
      progress.clear();
    }
  },
});
