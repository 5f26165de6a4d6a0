/** `layerstack images`: prints the table of `docker images`. */
import type { ImageSummary } from '../../../image/store.ts';
import { defineCommand } from '../command.ts';
import { parseFilters } from '../filters.ts';
import { formatAge, formatBytes, formatId, formatTime } from '../format.ts';
import { formatTable, parseListingFormat, printListing } from '../output.ts';

/** A line of the table: an image and one of its names. */
interface Row {
  readonly image: ImageSummary;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

const HEADERS: Readonly<Record<string, string>> = {
  ...{ ID: 'IMAGE ID', Repository: 'REPOSITORY', Tag: 'TAG', Digest: 'DIGEST', CreatedSince: 'CREATED' },
  ...{ CreatedAt: 'CREATED AT', Size: 'SIZE', Containers: 'CONTAINERS', VirtualSize: 'SIZE' },
  ...{ SharedSize: 'SHARED SIZE', UniqueSize: 'UNIQUE SIZE', Form: 'FORM' },
};

const NONE = '<none>';

export const command = defineCommand({
  usage: '[OPTIONS] [REPOSITORY[:TAG]]',
  description: 'List images, newest first, one line for each name.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'list intermediate images too' },
    quiet: { type: 'boolean', short: 'q', help: 'print ids only' },
    'no-trunc': { type: 'boolean', help: 'print whole ids' },
    digests: { type: 'boolean', help: 'show manifest digests' },
    filter: {
      type: 'string',
      short: 'f',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'list only images that match: dangling, label, before, since, until, reference',
    },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['table', 'json', 'raw'],
      help: 'table, json (one document a line), raw, or a Go template such as {{.ID}}',
    },
  },
  operands: { min: 0, max: 1, kinds: ['image'] },
  examples: [
    {
      command: 'layerstack images --filter dangling=true -q',
      does: 'lists the ids of images without a name',
    },
    { command: "layerstack images --format '{{.Repository}}:{{.Tag}}'", does: 'lists names' },
  ],
  async run(context, values, patterns) {
    const format = await parseListingFormat(values.format, rawFormat(values));
    const given = [...(values.filter ?? []), ...patterns.map((pattern) => `reference=${pattern}`)];
    const filters = parseFilters(given, ['dangling', 'label', 'before', 'since', 'until', 'reference']);
    await using store = await context.open();
    const images = await store.images.list({ all: values.all, filters });
    const truncate = values['no-trunc'] !== true;
    if (typeof format === 'object') {
      const digests = values.digests === true;
      // As in docker: `table` takes --digests, and a template that names the digest shows digests too.
      const template =
        digests && format.template.startsWith('table') && !format.template.includes('{{.Digest}}')
          ? `${format.template}\t{{.Digest}}`
          : format.template;
      const shown = images.flatMap((image) => rowsOf(image, digests || template.includes('{{.Digest}}')));
      await printListing(context, template, {
        type: '*formatter.imageContext',
        headers: HEADERS,
        rows: shown.map((row) => document(row, truncate)),
      });
      return;
    }
    const rows = images.flatMap((image) => rowsOf(image, values.digests === true));
    if (values.quiet) context.print(...rows.map(({ image }) => formatId(image.Id, truncate)));
    else if (format === 'json') context.print(...rows.map((row) => JSON.stringify(document(row, truncate))));
    else context.print(...table(rows, truncate, values.digests === true));
  },
});

/** docker's `--format raw`. */
function rawFormat({
  quiet,
  digests,
}: {
  readonly quiet?: boolean | undefined;
  readonly digests?: boolean | undefined;
}): string {
  if (quiet) return 'image_id: {{.ID}}';
  return [
    ...['repository: {{.Repository}}', 'tag: {{.Tag}}', ...(digests ? ['digest: {{.Digest}}'] : [])],
    ...['image_id: {{.ID}}', 'created_at: {{.CreatedAt}}', 'virtual_size: {{.Size}}', ''],
  ].join('\n');
}

function rowsOf(image: ImageSummary, digests: boolean): Row[] {
  const named = new Map<string, { tags: string[]; digests: string[] }>();
  const entry = (repository: string) => {
    const found = named.get(repository) ?? { tags: [], digests: [] };
    named.set(repository, found);
    return found;
  };
  for (const reference of image.RepoTags) {
    const colon = reference.lastIndexOf(':');
    entry(reference.slice(0, colon)).tags.push(reference.slice(colon + 1));
  }
  for (const reference of image.RepoDigests) {
    const at = reference.indexOf('@');
    entry(reference.slice(0, at)).digests.push(reference.slice(at + 1));
  }
  if (named.size === 0) return [{ image, repository: NONE, tag: NONE, digest: NONE }];
  return [...named].flatMap(([repository, { tags, digests: all }]) => {
    const shown = digests && all.length > 0 ? all : [NONE];
    return (tags.length > 0 ? tags : [NONE]).flatMap((tag) =>
      shown.map((digest) => ({ image, repository, tag, digest })),
    );
  });
}

function table(rows: readonly Row[], truncate: boolean, digests: boolean): string[] {
  // Docker's table, unless it would hide that an image is in another form than Docker's.
  const forms = rows.some(({ image }) => image.Form !== undefined);
  const header = [
    ...['REPOSITORY', 'TAG', ...(digests ? ['DIGEST'] : []), 'IMAGE ID', 'CREATED', 'SIZE'],
    ...(forms ? ['FORM'] : []),
  ];
  return formatTable(
    header,
    rows.map(({ image, repository, tag, digest }) => [
      repository,
      tag,
      ...(digests ? [digest] : []),
      formatId(image.Id, truncate),
      formatAge(created(image)),
      formatBytes(image.Size),
      ...(forms ? [formOf(image)] : []),
    ]),
  );
}

/** Returns the fields of `docker images --format json`, all of them text. */
function document({ image, repository, tag, digest }: Row, truncate: boolean): Record<string, string> {
  const unixMs = created(image);
  return {
    Containers: 'N/A',
    CreatedAt: unixMs === undefined ? 'N/A' : formatTime(unixMs),
    CreatedSince: formatAge(unixMs),
    Digest: digest,
    Form: formOf(image),
    ID: formatId(image.Id, truncate),
    Repository: repository,
    SharedSize: 'N/A',
    Size: formatBytes(image.Size),
    Tag: tag,
    UniqueSize: 'N/A',
    VirtualSize: formatBytes(image.VirtualSize),
  };
}

function formOf({ Form }: ImageSummary): string {
  return Form ?? 'classic';
}

/** Returns milliseconds since 1970; undefined where the config has no time (year 1 in Go). */
function created(image: ImageSummary): number | undefined {
  return image.Created < 0 ? undefined : image.Created * 1000;
}
