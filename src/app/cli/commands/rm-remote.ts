/** `layerstack rm-remote`: deletes in a registry; prints the lines of `docker rmi`. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] REFERENCE',
  description:
    'Delete a manifest in its registry, given by NAME@DIGEST, or a tag, given by NAME:TAG. A registry that cannot delete a\n' +
    'tag alone deletes its manifest, with all its tags. The registry of the Distribution project deletes only with\n' +
    'REGISTRY_STORAGE_DELETE_ENABLED=true, and frees the bytes when its `registry garbage-collect` runs. The store does not\n' +
    'change.',
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
      context.stderr.print('The registry cannot delete a tag alone: all tags of this manifest were deleted.');
  },
});
