/** `layerstack load`: loads images; prints what `docker load` prints. */
import { defineCommand, UsageError } from '../command.ts';
import { LAYER_OPTIONS } from '../layer-options.ts';
import { parseBytes } from '../format.ts';
import { parseFormat } from '../output.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] [-i FILE | < ARCHIVE]',
  description:
    'Load the images of a docker-archive, an OCI archive or an OCI layout folder, plain or compressed by gzip or zstd.\n' +
    'After exit status 0 the images are on disk, durably; after any other status the store is as it was.',
  options: {
    input: {
      type: 'string',
      short: 'i',
      value: 'FILE',
      help: 'read this archive or OCI layout folder instead of stdin',
    },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      help: 'platform of the image in an index (default: this machine)',
    },
    'max-bytes': {
      type: 'string',
      value: 'SIZE',
      help: 'refuse more uncompressed bytes than this, e.g. 10G',
    },
    ...LAYER_OPTIONS,
    quiet: { type: 'boolean', short: 'q', help: 'no progress' },
    format: { type: 'string', value: 'json', help: 'one JSON document for each image' },
  },
  operands: { min: 0, max: 0 },
  examples: [
    { command: 'layerstack load -i app.tar', does: 'loads an archive that `docker save` wrote' },
    {
      command: 'layerstack load --packed -i app.tar',
      does: 'loads without extracting: the kernel mounts the tars',
    },
    {
      command: 'curl -fsSL https://example.org/app.tar.gz | layerstack load',
      does: 'loads from a pipe, compressed or not',
    },
  ],
  async run(context, values) {
    const format = parseFormat(values.format);
    const maxBytes =
      values['max-bytes'] === undefined ? undefined : parseBytes('--max-bytes', values['max-bytes']);
    if (values.input === undefined && context.stdin.isTTY)
      throw new UsageError('stdin is a terminal: name the archive with -i FILE, or pipe it in');
    const progress = new ProgressDisplay(context.stderr, { quiet: values.quiet === true, doing: 'loading' });
    await using store = await context.open();
    const loading = store.images.load(values.input ?? context.stdin, {
      ...(values.platform !== undefined && { platform: values.platform }),
      ...(maxBytes !== undefined && { maxBytes }),
      ...(values.check === true && { check: true }),
      ...(values.packed === true && { form: 'packed' as const }),
      signal: context.signal,
      onProgress: progress.show,
    });
    const { images } = await loading.finally(() => progress.clear());
    for (const image of images) {
      if (format === 'json') context.print(JSON.stringify(image));
      else if (image.references.length === 0) context.print(`Loaded image ID: ${image.id}`);
      else context.print(...image.references.map((reference) => `Loaded image: ${reference}`));
    }
  },
});
