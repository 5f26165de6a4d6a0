/** `layerstack referrers`: lists the manifests that refer to an image in its registry. */
import { defineCommand } from '../command.ts';
import { formatBytes } from '../format.ts';
import { formatTable, parseFormat } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] REFERENCE',
  description:
    'List the manifests that refer to an image or index in its registry: signatures, SBOMs, attestations. If a registry\n' +
    'lacks the referrers API, the list comes from the tag under which clients keep it.',
  options: { format: { type: 'string', value: 'json', help: 'one JSON document a line' } },
  operands: { min: 1, max: 1, kinds: ['image'] },
  examples: [
    {
      command: 'layerstack referrers registry.example/team/app:2',
      does: 'lists signatures and SBOMs of an image',
    },
  ],
  async run(context, values, [reference = '']) {
    const format = parseFormat(values.format);
    const registry = await context.registry();
    const found = await registry.referrers(reference, { signal: context.signal });
    if (format === 'json') context.print(...found.map((referrer) => JSON.stringify(referrer)));
    else
      context.print(
        ...formatTable(
          ['DIGEST', 'ARTIFACT TYPE', 'SIZE'],
          found.map(({ digest, artifactType, mediaType, size }) => [
            digest,
            artifactType ?? mediaType,
            formatBytes(size),
          ]),
        ),
      );
  },
});
