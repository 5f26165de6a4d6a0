/** `layerstack image`: writes a root file system as a disk image. */
import type { Container } from '../../../container/record.ts';
import { LayerstackError } from '../../../core/errors.ts';
import type { DiskImageOptions } from '../../../transfer/archive/disk-image.ts';
import type { Layerstack } from '../../layerstack.ts';
import { defineCommand, UsageError } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { parseBytes } from '../format.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage: '[OPTIONS] -o FILE IMAGE|CONTAINER',
  description:
    'Write the root file system of a container, or else of an image, as one file system, for `mount -o loop` and for virtual\n' +
    'machines. The same image gives the same bytes.\n' +
    'erofs is read-only, with 4 KiB blocks. A kernel boots from it with `root=/dev/vda rootfstype=erofs`.\n' +
    'ext4 is writable. `mke2fs` of the host makes it, with times of whole seconds and an empty lost+found. While it is made,\n' +
    'the directory of FILE has room for the contents twice.\n' +
    'Files that are newer than SOURCE_DATE_EPOCH, in seconds since 1970 in the environment, get that date.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'write to this file' },
    format: { type: 'string', value: 'erofs|ext4', help: 'the file system (default erofs)' },
    size: {
      type: 'string',
      value: 'BYTES',
      help: 'size of the ext4 file system, e.g. 512M (default: large enough for the contents)',
    },
  },
  operands: { min: 1, max: 1, kinds: ['object'] },
  examples: [
    { command: 'layerstack image -o app.erofs app:1', does: 'writes a disk image' },
    { command: 'layerstack image --format ext4 --size 4G -o app.ext4 app:1', does: 'writes a writable one' },
  ],
  async run(context, values, [name = '']) {
    const { output, format = 'erofs' } = values;
    if (format !== 'erofs' && format !== 'ext4')
      throw new UsageError(`--format ${JSON.stringify(format)} is not supported: use erofs or ext4`);
    if (output === undefined)
      throw new UsageError(
        'a disk image is written to a file: name it with -o FILE (`layerstack images` lists images)',
      );
    const size = values.size === undefined ? undefined : parseBytes('--size', values.size);
    if (size !== undefined && format !== 'ext4')
      throw new UsageError('--size is for --format ext4: an EROFS image is as large as its contents');
    const { writeOutput } = await archiveOutput();
    const progress = new ProgressDisplay(context.stderr, { quiet: true, doing: 'writing' });
    await using store = await context.open();
    const options: DiskImageOptions = {
      ...{ format, size },
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    };
    const write = async (fd: number): Promise<void> => {
      const container = await findContainer(store, name);
      if (container) await store.containers.writeDisk(fd, container, options);
      else await store.images.writeDisk(fd, name, options);
    };
    await writeOutput(store, write, output);
  },
});

async function findContainer(store: Layerstack, name: string): Promise<Container | undefined> {
  return store.containers.get(name).catch((error: unknown) => {
    if (LayerstackError.is(error) && error.code === 'ERR_CONTAINER_NOT_FOUND') return undefined;
    throw error;
  });
}
