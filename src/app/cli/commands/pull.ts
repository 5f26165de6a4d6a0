/** `layerstack pull`: downloads an image from its registry; prints what `docker pull` prints. */
import { canonicalName, formatReference, parseReference, withDefaultTag } from '../../../core/reference.ts';
import { defineCommand, UsageError } from '../command.ts';
import { LAYER_OPTIONS } from '../layer-options.ts';
import { parseBytes, parseCount } from '../format.ts';
import { parseFormat } from '../output.ts';
import { PULL_WORDS } from '../pull-words.ts';
import { RegistryDisplay } from '../registry-display.ts';

export const command = defineCommand({
  usage: '[OPTIONS] NAME[:TAG|@DIGEST]',
  description:
    'Download an image from its registry, HOST[:PORT]/NAME, or NAME from Docker Hub. Only layers that the store lacks are\n' +
    'downloaded. The next pull resumes an interrupted one. After exit status 0 the image is on disk, durably; after any\n' +
    'other status the store is as it was.',
  options: {
    'all-tags': { type: 'boolean', short: 'a', help: 'pull every tag of the repository' },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      help: 'platform of the image (default: this machine)',
    },
    'all-platforms': {
      type: 'string',
      value: 'DIR',
      help: 'pull the image of all platforms into an OCI layout in DIR, not into the store',
    },
    'keep-blobs': {
      type: 'boolean',
      help: 'keep the compressed layers too: save --format oci and push then reuse them byte for byte',
    },
    'max-concurrent-downloads': { type: 'string', value: 'N', help: 'layers downloaded at once (default 3)' },
    'max-bytes': {
      type: 'string',
      value: 'SIZE',
      help: 'refuse more uncompressed bytes than this, e.g. 10G',
    },
    ...LAYER_OPTIONS,
    quiet: { type: 'boolean', short: 'q', help: "print the image's name only" },
    format: { type: 'string', value: 'json', help: 'one JSON document for each event' },
    'disable-content-trust': {
      type: 'boolean',
      help: "no effect: content trust is never used, as by docker's default",
    },
  },
  operands: { min: 1, max: 1, kinds: ['image'] },
  examples: [
    { command: 'layerstack pull debian:bookworm-slim', does: 'downloads an image from Docker Hub' },
    {
      command: 'layerstack pull --platform linux/arm64 registry.example/app:1',
      does: 'downloads an image for another processor',
    },
  ],
  async run(context, values, [name = '']) {
    const json = parseFormat(values.format) === 'json';
    const allTags = values['all-tags'] === true;
    const quiet = values.quiet === true;
    const maxBytes =
      values['max-bytes'] === undefined ? undefined : parseBytes('--max-bytes', values['max-bytes']);
    const display = new RegistryDisplay(context, PULL_WORDS, { json, quiet });
    const reference = parseReference(name);
    const maxConcurrentDownloads = parseCount(
      '--max-concurrent-downloads',
      values['max-concurrent-downloads'],
    );
    const directory = values['all-platforms'];
    if (directory !== undefined) {
      const other = ['all-tags', 'platform', 'keep-blobs', 'packed'].find((option) => option in values);
      if (other !== undefined) throw new UsageError(`--all-platforms does not go with --${other}`);
      try {
        const registry = await context.registry();
        const pulled = await registry.pullLayout(name, directory, {
          ...{ maxBytes, maxConcurrentDownloads, signal: context.signal, onProgress: display.show },
        });
        display.end();
        if (json) context.print(JSON.stringify(pulled));
        else if (quiet) context.print(formatReference(withDefaultTag(reference)));
        else
          context.print(
            `Digest: ${pulled.digest}`,
            `Status: ${pulled.manifests} manifest${pulled.manifests === 1 ? '' : 's'} in ${directory}`,
          );
        for (const digest of pulled.foreign)
          context.stderr.print(`layerstack: layer ${digest} is foreign: its bytes are not in the registry`);
        return;
      } finally {
        display.end();
      }
    }
    await using store = await context.open();
    try {
      const { images } = await store.registry.pull(name, {
        ...{ allTags, maxBytes, platform: values.platform, signal: context.signal },
        keepBlobs: values['keep-blobs'] === true,
        check: values.check === true,
        form: values.packed === true ? 'packed' : undefined,
        maxConcurrentDownloads,
        onProgress: display.show,
      });
      if (json) return;
      const pulled = allTags ? reference : withDefaultTag(reference);
      const updated = images.some((image) => image.updated);
      const status = updated ? 'Downloaded newer image for' : 'Image is up to date for';
      const { repository, tag, digest } = pulled;
      const meant =
        digest === undefined ? { repository, ...(tag !== undefined && { tag }) } : { repository, digest };
      if (!quiet) context.print(`Status: ${status} ${formatReference(meant)}`);
      context.print(formatReference({ ...pulled, repository: canonicalName(pulled.repository) }));
    } finally {
      display.end();
    }
  },
});
