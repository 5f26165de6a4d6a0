/** `layerstack rm-remote`: deletes in a registry, and says so in the words of `docker rmi`. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] REFERENCE',
  description:
    'Deletes a manifest in its registry, given by NAME@DIGEST, or a tag, given by NAME:TAG. A registry that cannot delete a tag\n' +
    "alone deletes its manifest, with all its tags. Distribution's registry deletes when it runs with\n" +
    'REGISTRY_STORAGE_DELETE_ENABLED=true, and frees the bytes when its `registry garbage-collect` runs. Nothing in the store\n' +
    'changes.',
  options: {},
  operands: { min: 1, max: 1 },
  examples: [
    { command: 'layerstack rm-remote registry.example/team/app:old', does: 'deletes a tag in its registry' },
  ],
  async run(context, _values, [reference = '']) {
    const registry = await context.registry();
    const { untagged, deleted } = await registry.remove(reference, { signal: context.signal });
    if (untagged !== undefined) context.print(`Untagged: ${untagged}`);
    if (deleted !== undefined) context.print(`Deleted: ${deleted}`);
    if (untagged !== undefined && deleted !== undefined)
      context.stderr.print('The registry cannot delete a tag alone: all tags of this manifest are gone.');
  },
});
