/** `layerstack mount`: prints the path of the mounted root file system. */
import type { ArchiveChoice } from '../../../packed/operation.ts';
import { archiveChoice, ARCHIVE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand, type Context } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE',
  description:
    "Mount a container's root file system, or that of an image archive, and print its path. The mount stays until it is\n" +
    'unmounted as often as it was mounted. An argument with a slash in it is the path of an archive: a docker-archive, an\n' +
    'OCI archive or an OCI layout folder. The archive is not unpacked. The kernel reads the files from it, so it must not\n' +
    'change while it is mounted. Files that are written to it go into the store, and are removed with the mount.',
  options: {
    'readonly-rootfs': { type: 'boolean', short: 'r', help: 'mount it read-only' },
    ...ARCHIVE_OPTIONS,
  },
  operands: { min: 1, max: 1, kinds: ['mountable'] },
  examples: [
    { command: 'rootfs=$(layerstack mount build)', does: 'mounts a container, and keeps the path' },
    { command: 'rootfs=$(layerstack mount ./app.tar)', does: 'mounts an archive, without loading it' },
  ],
  async run(context, values, [operand = '']) {
    const readOnly = values['readonly-rootfs'];
    if (isArchivePath(operand)) return mountArchive(context, operand, { ...archiveChoice(values), readOnly });
    refuseArchiveOptions(values);
    await using store = await context.open();
    const mount = await store.containers.mount(operand, { readOnly, signal: context.signal });
    context.print(mount.path);
  },
});

async function mountArchive(
  context: Context,
  path: string,
  options: ArchiveChoice & { readonly readOnly: boolean | undefined },
): Promise<void> {
  await using store = await context.open();
  const mount = await store.archives.mount(path, { ...options, signal: context.signal });
  context.stderr.print(...mount.notices);
  if (!mount.verified) context.stderr.print('The archive was not verified');
  context.print(mount.path);
}
