/** `layerstack unmount`: gives back one use of each mount. */
import type { Layerstack } from '../../layerstack.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';
import { forEachName } from '../each.ts';

/**
 * Returns whether the name is that of a mounted archive. `/app.tar`, once removed, looks like a container's
 * name.
 */
async function isMountedArchive({ archives }: Layerstack, name: string): Promise<boolean> {
  return name.startsWith('/') && (await archives.list()).some(({ archive }) => archive === name);
}

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE...',
  description:
    'Unmount the root file systems of containers and archives, and print the names. A root file system stays mounted until\n' +
    'it is unmounted as often as it was mounted. An archive is named by its path, or by the path of its root file system.\n' +
    'The last unmount of an archive removes the files that were written to it.',
  options: {
    force: {
      type: 'boolean',
      short: 'f',
      help: 'end all uses at once, and unmount it even if files in it are in use',
    },
  },
  operands: { min: 1, max: Infinity, kinds: ['mountable'] },
  examples: [
    { command: 'layerstack unmount build', does: 'unmounts a container' },
    { command: 'layerstack unmount ./app.tar', does: 'unmounts an archive' },
  ],
  async run(context, { force }, names) {
    await using store = await context.open();
    await forEachName(context, names, async (name) => {
      const options = { force, signal: context.signal };
      if (isArchivePath(name) || (await isMountedArchive(store, name)))
        await store.archives.unmount(name, options);
      else await store.containers.unmount(name, options);
      context.print(name);
    });
  },
});
