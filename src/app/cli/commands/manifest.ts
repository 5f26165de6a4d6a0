/** `layerstack manifest inspect`: prints the documents of `docker manifest inspect`. */
import { isIndexType, MEDIA_TYPES } from '../../../core/descriptor.ts';
import type { RemoteManifest } from '../../../transfer/remote/remote.ts';
import { defineCommand, UsageError } from '../command.ts';
import { parseFormat, printJson } from '../output.ts';

export const command = defineCommand({
  usage: 'inspect [OPTIONS] REFERENCE',
  description:
    'Show the manifest or index that a registry has for a name, tag or digest. Its digest is verified. Nothing is\n' +
    'downloaded into the store.',
  options: {
    verbose: {
      type: 'boolean',
      short: 'v',
      help: 'add digest, size and platform; for an index, show all its images',
    },
    format: { type: 'string', value: 'json', help: 'one JSON document a line' },
  },
  operands: { min: 2, max: 2, kinds: [['inspect'], 'image'] },
  examples: [
    { command: 'layerstack manifest inspect -v debian:bookworm', does: 'shows all images of an index' },
  ],
  async run(context, values, [what = '', reference = '']) {
    if (what !== 'inspect')
      throw new UsageError(`manifest ${JSON.stringify(what)} is unknown: use manifest inspect REFERENCE`);
    const compact = parseFormat(values.format) === 'json';
    const registry = await context.registry();
    const verbose = values.verbose === true;
    const found = await registry.manifest(reference, { images: verbose, signal: context.signal });
    if (!verbose) {
      // docker indents indexes and manifests in different ways.
      const indent = compact ? undefined : isIndexType(found.mediaType) ? '   ' : '\t';
      printJson(context, parse(found), indent);
      return;
    }
    const documents = (found.images ?? [found]).map(details);
    if (compact) context.print(...documents.map((document) => JSON.stringify(document)));
    else printJson(context, found.images ? documents : documents[0], '\t');
  },
});

/** Returns one image as docker's `--verbose` shows it. */
function details(found: RemoteManifest) {
  const { reference, mediaType, digest, bytes, platform } = found;
  const oci = mediaType === MEDIA_TYPES.ociManifest || mediaType === MEDIA_TYPES.ociIndex;
  return {
    Ref: reference,
    Descriptor: { mediaType, digest, size: bytes.length, platform },
    Raw: Buffer.from(bytes).toString('base64'),
    [oci ? 'OCIManifest' : 'SchemaV2Manifest']: parse(found),
  };
}

/** Parses a document that was checked to be JSON before. */
function parse({ bytes }: RemoteManifest): unknown {
  return JSON.parse(Buffer.from(bytes).toString());
}
