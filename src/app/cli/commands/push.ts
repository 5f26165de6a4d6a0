/** `layerstack push`: uploads an image to its registry; prints what `docker push` prints. */
import { canonicalName, formatReference, parseReference, withDefaultTag } from '../../../core/reference.ts';
import { defineCommand, UsageError } from '../command.ts';
import { parseCount } from '../format.ts';
import { PUSH_WORDS } from '../push-words.ts';
import { RegistryDisplay } from '../registry-display.ts';

export const command = defineCommand({
  usage: '[OPTIONS] NAME[:TAG]',
  description:
    'Upload an image to its registry: HOST[:PORT]/NAME, or NAME on Docker Hub. Layers that the registry has are neither\n' +
    'read nor sent. The others are rebuilt, verified and compressed on all processors while they are sent.',
  options: {
    'all-tags': { type: 'boolean', short: 'a', help: 'push every tag of the repository' },
    compression: {
      type: 'string',
      value: 'gzip|zstd',
      help: 'compression of the uploaded layers (default gzip)',
    },
    'compression-level': {
      type: 'string',
      value: 'N',
      help: 'gzip 1 to 9 (default 4), zstd 1 to 19 (default 3)',
    },
    format: {
      type: 'string',
      multiple: true,
      value: 'docker|oci|json',
      help: "docker's manifest (default) or OCI's (always for zstd); json: one JSON document for each event",
    },
    'max-concurrent-uploads': { type: 'string', value: 'N', help: 'layers uploaded at once (default 5)' },
    monolithic: {
      type: 'boolean',
      help: 'send each blob in one request, for registries without chunked uploads; layers are compressed twice',
    },
    quiet: { type: 'boolean', short: 'q', help: "print the image's name only" },
    'disable-content-trust': {
      type: 'boolean',
      help: "no effect: content trust is never used, as by docker's default",
    },
  },
  operands: { min: 1, max: 1, kinds: ['image'] },
  examples: [
    { command: 'layerstack push registry.example/team/app:2', does: 'uploads what the registry lacks' },
    {
      command: 'layerstack push --compression zstd registry.example/team/app:2',
      does: 'compresses the layers by zstd',
    },
  ],
  async run(context, values, [name = '']) {
    const { json, format } = parseFormats(values.format ?? []);
    const quiet = values.quiet === true;
    const allTags = values['all-tags'] === true;
    const compression = values.compression;
    if (compression !== undefined && compression !== 'gzip' && compression !== 'zstd')
      throw new UsageError(`--compression ${JSON.stringify(compression)} is not supported: use gzip or zstd`);
    const given = parseReference(name);
    const display = new RegistryDisplay(context, PUSH_WORDS, { json, quiet });
    await using store = await context.open();
    try {
      const { images } = await store.registry.push(name, {
        ...{ allTags, compression, format, signal: context.signal, onProgress: display.show },
        compressionLevel: parseCount('--compression-level', values['compression-level']),
        maxConcurrentUploads: parseCount('--max-concurrent-uploads', values['max-concurrent-uploads']),
        monolithic: values.monolithic === true,
      });
      if (quiet && !json)
        for (const image of allTags ? images : [{ reference: formatReference(withDefaultTag(given)) }]) {
          const reference = parseReference(image.reference);
          context.print(formatReference({ ...reference, repository: canonicalName(reference.repository) }));
        }
    } finally {
      display.end();
    }
  },
});

function parseFormats(texts: readonly string[]): { json: boolean; format: 'docker' | 'oci' | undefined } {
  let json = false;
  let format: 'docker' | 'oci' | undefined;
  for (const text of texts) {
    if (text === 'json') json = true;
    else if (text === 'docker' || text === 'oci') format = text;
    else throw new UsageError(`--format ${JSON.stringify(text)} is not supported: use docker, oci or json`);
  }
  return { json, format };
}
