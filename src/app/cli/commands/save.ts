/** `layerstack save`: writes images to an archive, as `docker save`. */
import { defineCommand, UsageError } from '../command.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE... [> ARCHIVE]',
  description:
    'Write images to an archive that docker (1.10 and later), podman, skopeo and umoci read. An IMAGE without a tag means\n' +
    'all tags of the repository. Layers are verified while they are written.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'write to a file instead of stdout' },
    format: {
      type: 'string',
      value: 'docker|oci',
      help: "docker's archive (default), which is also an OCI layout, or only an OCI layout",
    },
    quiet: { type: 'boolean', short: 'q', help: 'no progress' },
  },
  operands: { min: 1, max: Infinity, kinds: ['image'] },
  examples: [
    { command: 'layerstack save -o app.tar app:1', does: 'writes an image with its name' },
    {
      command: 'layerstack save --format oci app:1 | ssh host layerstack load',
      does: 'copies an image to another machine',
    },
  ],
  async run(context, values, images) {
    const format = values.format ?? 'docker';
    if (format !== 'docker' && format !== 'oci')
      throw new UsageError(`--format ${JSON.stringify(format)} is not supported: use docker or oci`);
    const { requireTarget, writeOutput } = await archiveOutput();
    requireTarget(context, values.output);
    const progress = new ProgressDisplay(context.stderr, { quiet: values.quiet === true, doing: 'saving' });
    await using store = await context.open();
    const options = { format, signal: context.signal, onProgress: progress.show } as const;
    try {
      await writeOutput(store, (fd) => store.images.saveTo(fd, images, options), values.output);
    } finally {
      progress.clear();
    }
  },
});
