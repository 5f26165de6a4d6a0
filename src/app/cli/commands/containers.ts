/**
 * `layerstack containers`: prints the table of `docker ps -a`, which here also shows whether a container is
 * mounted.
 */
import type { Container } from '../../../container/record.ts';
import type { ContainerSize } from '../../../container/store.ts';
import { compareBytes } from '../../../core/bytes.ts';
import { quote } from '../../../core/template/printf.ts';
import { commandText, statusText } from '../../container-text.ts';
import type { Layerstack } from '../../layerstack.ts';
import { defineCommand } from '../command.ts';
import { containerFields } from '../container-fields.ts';
import { ellipsis, formatAge, formatBytes, formatId, formatTime } from '../format.ts';
import { formatTable, parseListingFormat, printListing } from '../output.ts';

interface Row {
  readonly container: Container;
  readonly mounted: boolean;
}

const HEADERS: Readonly<Record<string, string>> = {
  ...{ ID: 'CONTAINER ID', Names: 'NAMES', Image: 'IMAGE', Command: 'COMMAND', CreatedAt: 'CREATED AT' },
  ...{ RunningFor: 'CREATED', State: 'STATE', Status: 'STATUS', Size: 'SIZE', Labels: 'LABELS' },
  ...{ Ports: 'PORTS', Mounts: 'MOUNTS', LocalVolumes: 'LOCAL VOLUMES', Networks: 'NETWORKS' },
  Mounted: 'MOUNTED',
};

/** docker's `--format raw`. */
const RAW = [
  ...['container_id: {{.ID}}', 'image: {{.Image}}', 'command: {{.Command}}', 'created_at: {{.CreatedAt}}'],
  ...['state: {{- pad .State 1 0}}', 'status: {{- pad .Status 1 0}}', 'names: {{.Names}}'],
  ...['labels: {{- pad .Labels 1 0}}', 'ports: {{- pad .Ports 1 0}}', ''],
].join('\n');
const RAW_QUIET = 'container_id: {{.ID}}';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description: 'List containers, newest first, including those of dockerd.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'no effect: all containers are always shown' },
    quiet: { type: 'boolean', short: 'q', help: 'print ids only' },
    'no-trunc': { type: 'boolean', help: 'print whole ids and commands' },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['table', 'json', 'raw'],
      help: 'table, json (one document a line), raw, or a Go template such as {{.ID}}',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [{ command: "layerstack containers --format '{{.Names}}'", does: 'lists names' }],
  async run(context, values) {
    const format = await parseListingFormat(values.format, values.quiet === true ? RAW_QUIET : RAW);
    const truncate = values['no-trunc'] !== true;
    await using store = await context.open();
    const containers = await store.containers.list();
    if (values.quiet && typeof format !== 'object') {
      context.print(...containers.map(({ id }) => formatId(id, truncate)));
      return;
    }
    const rows = await Promise.all(
      containers.map(async (container) => ({
        container,
        mounted: await store.containers.isMounted(container),
      })),
    );
    if (typeof format === 'object')
      await printListing(context, format.template, {
        type: '*formatter.containerContext',
        headers: HEADERS,
        rows: await Promise.all(
          rows.map(async (row) => ({
            ...(await document(store, row, truncate)),
            ...(format.template.includes('.Size') && {
              Size: sizeText(await store.containers.size(row.container)),
            }),
            Label: (name: string) => row.container.config.Labels?.get(name) ?? '',
          })),
        ),
      });
    else if (format === 'json')
      for (const row of rows) context.print(JSON.stringify(await document(store, row, truncate)));
    else
      context.print(
        ...formatTable(
          ['CONTAINER ID', 'IMAGE', 'COMMAND', 'CREATED', 'STATUS', 'NAMES'],
          rows.map((row) => cells(row, truncate)),
        ),
      );
  },
});

function cells({ container, mounted }: Row, truncate: boolean): string[] {
  return [
    formatId(container.id, truncate),
    imageOf(container, truncate),
    quotedCommand(container, truncate),
    formatAge(Date.parse(container.created)),
    statusText(container, mounted),
    container.name,
  ];
}

function quotedCommand(container: Container, truncate: boolean): string {
  const text = commandText(container);
  return quote(truncate ? ellipsis(text, 20) : text);
}

/** Returns the fields of `docker ps --format json` that a store knows. */
async function document(
  store: Layerstack,
  { container, mounted }: Row,
  truncate: boolean,
): Promise<Record<string, string | boolean>> {
  const { LocalVolumes, Mounts, Networks, Ports } = containerFields(
    await store.containers.inspect(container),
    truncate,
  );
  return {
    Command: quotedCommand(container, truncate),
    CreatedAt: formatTime(Date.parse(container.created) || 0),
    ID: formatId(container.id, truncate),
    Image: imageOf(container, truncate),
    Labels: labelsText(container),
    LocalVolumes,
    Mounted: mounted,
    Mounts,
    Names: container.name,
    Networks,
    Ports,
    RunningFor: formatAge(Date.parse(container.created)),
    State: container.state,
    Status: statusText(container, mounted),
  };
}

function imageOf({ imageName }: Container, truncate: boolean): string {
  return truncate && /^sha256:[0-9a-f]{64}$/.test(imageName) ? formatId(imageName, true) : imageName;
}

/** Returns the labels as docker lists them, sorted: `a=1,b=2`. */
function labelsText({ config: { Labels } }: Container): string {
  const texts = [...(Labels ?? [])].map(([name, value]) => `${name}=${value}`);
  return texts.sort(compareBytes).join(',');
}

function sizeText({ SizeRw, SizeRootFs }: ContainerSize): string {
  return `${formatBytes(SizeRw)} (virtual ${formatBytes(SizeRootFs)})`;
}
