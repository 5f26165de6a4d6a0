/**
 * `layerstack import`: makes an image from a root file system, or from a layer on a base; prints its id, as
 * `docker import`.
 */
import { defineCommand, UsageError } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { parseBytes } from '../format.ts';
import { ProgressDisplay } from '../progress.ts';

export const command = defineCommand({
  usage: '[OPTIONS] FILE|DIRECTORY|- [REPOSITORY[:TAG]]',
  description:
    'Make an image of one layer from a tar (plain, gzip or zstd; - is stdin) or a directory, and print its id. With --base\n' +
    'the layer goes on top of the layers of another image. SOURCE_DATE_EPOCH in the environment is the date of the image\n' +
    'and, for a directory, of the files in it that are newer.',
  options: {
    base: { type: 'string', value: 'IMAGE', help: 'put the layer on this image, whose config it inherits' },
    author: { type: 'string', short: 'a', value: 'NAME', help: 'author, e.g. "A <a@example.org>"' },
    message: { type: 'string', short: 'm', value: 'TEXT', help: 'commit message' },
    change: {
      type: 'string',
      short: 'c',
      multiple: true,
      value: 'INSTRUCTION',
      help: 'Dockerfile instruction for the image, e.g. \'CMD ["sh"]\'',
    },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      help: "platform of the image (default: this machine; with --base, the base's)",
    },
    'max-bytes': {
      type: 'string',
      value: 'SIZE',
      help: 'refuse more uncompressed bytes than this, e.g. 10G',
    },
    packed: {
      type: 'boolean',
      help: 'keep the layer as a tar, which the kernel mounts; dockerd sees the image after `settle`',
    },
    quiet: { type: 'boolean', short: 'q', help: 'no progress' },
  },
  operands: { min: 1, max: 2, kinds: ['file', 'none'] },
  examples: [
    {
      command: 'layerstack import -c \'CMD ["sh"]\' rootfs.tar debian:own',
      does: 'makes an image from a tar',
    },
    { command: 'layerstack import /srv/rootfs debian:own', does: 'makes an image from a directory' },
  ],
  async run(context, values, [source = '', reference]) {
    const maxBytes =
      values['max-bytes'] === undefined ? undefined : parseBytes('--max-bytes', values['max-bytes']);
    if (/^https?:\/\//.test(source))
      throw new UsageError(
        `${source} is a URL, which layerstack does not download: pipe it in, \`curl -fsSL URL | layerstack import -\``,
      );
    if (source === '-' && context.stdin.isTTY)
      throw new UsageError('stdin is a terminal: name a tar or a directory, or pipe a tar in');
    const progress = new ProgressDisplay(context.stderr, {
      quiet: values.quiet === true,
      doing: 'importing',
    });
    await using store = await context.open();
    const importing = store.images.import(source === '-' ? context.stdin : source, {
      reference,
      base: values.base,
      author: values.author,
      message: values.message,
      changes: values.change,
      platform: values.platform,
      maxBytes,
      form: values.packed === true ? 'packed' : undefined,
      sourceDateEpoch: sourceDateEpoch(),
      signal: context.signal,
      onProgress: progress.show,
    });
    context.print(await importing.finally(() => progress.clear()));
  },
});
