/** `layerstack df`: prints the tables of `docker system df`, without the rows that a store cannot fill. */
import type { DiskUsage } from '../../disk-usage.ts';
import { defineCommand, UsageError, type Context } from '../command.ts';
import { ellipsis, formatAge, formatBytes, formatId } from '../format.ts';
import { formatTable, parseListingFormat, printListing } from '../output.ts';

interface Row {
  readonly type: string;
  readonly total: number;
  readonly active: number;
  readonly size: number;
  readonly reclaimable: number;
}

/** docker's `--format raw`. */
const RAW = [
  ...['type: {{.Type}}', 'total: {{.TotalCount}}', 'active: {{.Active}}', 'size: {{.Size}}'],
  ...['reclaimable: {{.Reclaimable}}', ''],
].join('\n');

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Show how much disk space images, containers and snapshots use: the bytes of their files and links. A hard-linked file counts\n' +
    'once, and so does a layer that several images have. Directories, metadata and the rounding to disk blocks, which `du`\n' +
    'counts, are not included. RECLAIMABLE is what `prune --all` (for images) or `rm` (for containers) would free.',
  options: {
    verbose: { type: 'boolean', short: 'v', help: 'show each image and container' },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['table', 'json', 'raw'],
      help: 'table, json (one document a line), raw, or a Go template such as {{.Size}}',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [{ command: 'layerstack df -v', does: 'shows each image and container' }],
  async run(context, values) {
    if (values.verbose && values.format === 'raw')
      throw new UsageError('--format raw shows the summary only: leave --verbose out');
    const format = await parseListingFormat(values.format, RAW);
    await using store = await context.open();
    const usage = await store.usage();
    if (typeof format === 'object')
      await printListing(context, format.template, {
        type: '*formatter.diskUsageContext',
        headers: {
          Type: 'TYPE',
          TotalCount: 'TOTAL',
          Active: 'ACTIVE',
          Size: 'SIZE',
          Reclaimable: 'RECLAIMABLE',
        },
        rows: values.verbose ? [{ ...usage }] : summary(usage).map((row) => ({ ...document(row) })),
      });
    else if (values.verbose && format === 'json') context.print(JSON.stringify(usage));
    else if (values.verbose) printDetails(context, usage);
    else if (format === 'json') context.print(...summary(usage).map((row) => JSON.stringify(document(row))));
    else
      context.print(
        ...formatTable(
          ['TYPE', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'],
          summary(usage).map((row) => Object.values(document(row))),
        ),
      );
  },
});

function summary({ Images, Containers, Snapshots, LayersSize, Reclaimable, UnusedLayers }: DiskUsage): Row[] {
  const active = Containers.filter((container) => container.active);
  const written = Containers.reduce((sum, { size }) => sum + size, 0);
  return [
    {
      type: 'Images',
      total: Images.length,
      active: Images.filter((image) => image.Containers > 0).length,
      size: LayersSize,
      reclaimable: Reclaimable,
    },
    {
      type: 'Containers',
      total: Containers.length,
      active: active.length,
      size: written,
      reclaimable: written - active.reduce((sum, { size }) => sum + size, 0),
    },
    ...snapshotRows(Snapshots),
    {
      type: 'Unused layers',
      total: UnusedLayers.Count,
      active: 0,
      size: UnusedLayers.Size,
      reclaimable: UnusedLayers.Size,
    },
  ];
}

/** docker has no snapshots, so a store without any shows what docker shows. */
function snapshotRows(snapshots: DiskUsage['Snapshots']): Row[] {
  if (snapshots.length === 0) return [];
  const size = snapshots.reduce((sum, snapshot) => sum + snapshot.size, 0);
  return [{ type: 'Snapshots', total: snapshots.length, active: 0, size, reclaimable: 0 }];
}

function document({ type, total, active, size, reclaimable }: Row) {
  const share = size > 0 ? ` (${Math.floor((reclaimable * 100) / size)}%)` : '';
  return {
    Type: type,
    TotalCount: String(total),
    Active: String(active),
    Size: formatBytes(size, 4),
    Reclaimable: `${formatBytes(reclaimable, 4)}${share}`,
  };
}

function printDetails(context: Context, { Images, Containers }: DiskUsage): void {
  const names = (tags: readonly string[]): string => tags.join(', ') || '<none>';
  context.print(
    'Images space usage:',
    '',
    ...formatTable(
      ['IMAGE', 'IMAGE ID', 'CREATED', 'SIZE', 'SHARED SIZE', 'UNIQUE SIZE', 'CONTAINERS'],
      Images.map((image) => [
        names(image.RepoTags),
        formatId(image.Id, true),
        formatAge(image.Created < 0 ? undefined : image.Created * 1000),
        formatBytes(image.Size),
        formatBytes(image.SharedSize),
        formatBytes(image.Size - image.SharedSize),
        String(image.Containers),
      ]),
    ),
    '',
    'Containers space usage:',
    '',
    ...formatTable(
      ['CONTAINER ID', 'IMAGE', 'COMMAND', 'SIZE', 'CREATED', 'NAMES'],
      Containers.map(({ container, size }) => [
        formatId(container.id, true),
        container.imageName,
        `"${ellipsis(container.command.join(' '), 20)}"`,
        formatBytes(size),
        formatAge(Date.parse(container.created)),
        container.name,
      ]),
    ),
  );
}
