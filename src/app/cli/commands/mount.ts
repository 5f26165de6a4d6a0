/** `layerstack mount`: mounts a container's root file system and prints its path. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER',
  description:
    "Mount a container's root file system and print its path. The mount stays until it is unmounted as often as it was\n" +
    'mounted.',
  options: { 'readonly-rootfs': { type: 'boolean', short: 'r', help: 'mount it read-only' } },
  operands: { min: 1, max: 1, kinds: ['container'] },
  examples: [{ command: 'rootfs=$(layerstack mount build)', does: 'mounts it, and keeps the path' }],
  async run(context, values, [name = '']) {
    await using store = await context.open();
    const mount = await store.containers.mount(name, {
      readOnly: values['readonly-rootfs'],
      signal: context.signal,
    });
    context.print(mount.path);
  },
});
