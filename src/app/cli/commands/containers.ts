/** `layerstack containers`: the table of `docker ps -a`; a mounted container says so. */
import type { Container } from '../../../container/record.ts';
import type { ContainerSize } from '../../../container/store.ts';
import { commandText, statusText } from '../../container-text.ts';
import { defineCommand } from '../command.ts';
import { ellipsis, formatAge, formatBytes, formatId, formatTime } from '../format.ts';
import { formatTable, parseListingFormat, printListing } from '../output.ts';

interface Row {
  readonly container: Container;
  readonly mounted: boolean;
}

const HEADERS: Readonly<Record<string, string>> = {
  ...{ ID: 'CONTAINER ID', Names: 'NAMES', Image: 'IMAGE', Command: 'COMMAND', CreatedAt: 'CREATED AT' },
  ...{ RunningFor: 'CREATED', State: 'STATE', Status: 'STATUS', Size: 'SIZE', Labels: 'LABELS' },
  Mounted: 'MOUNTED',
};

export const command = defineCommand({
  usage: '[OPTIONS]',
  description: 'Lists containers, newest first, those of dockerd too.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'no effect: all are always shown' },
    quiet: { type: 'boolean', short: 'q', help: 'ids only' },
    'no-trunc': { type: 'boolean', help: 'whole ids and commands' },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['table', 'json'],
      help: 'table, json (a document a line), or a Go template: {{.ID}}',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [{ command: "layerstack containers --format '{{.Names}}'", does: 'lists names' }],
  async run(context, values) {
    const format = await parseListingFormat(values.format);
    const truncate = values['no-trunc'] !== true;
    await using store = await context.open();
    const containers = await store.containers();
    if (values.quiet && typeof format !== 'object') {
      context.print(...containers.map(({ id }) => formatId(id, truncate)));
      return;
    }
    const rows = await Promise.all(
      containers.map(async (container) => ({ container, mounted: await store.isMounted(container) })),
    );
    if (typeof format === 'object')
      await printListing(context, format.template, {
        type: '*formatter.containerContext',
        headers: HEADERS,
        rows: await Promise.all(
          rows.map(async (row) => ({
            ...document(row, truncate),
            ...(format.template.includes('.Size') && {
              Size: sizeText(await store.containerSize(row.container)),
            }),
            Label: (name: string) => row.container.config.Labels?.get(name) ?? '',
          })),
        ),
      });
    else if (format === 'json') context.print(...rows.map((row) => JSON.stringify(document(row, truncate))));
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
    JSON.stringify(truncate ? ellipsis(commandText(container), 20) : commandText(container)),
    formatAge(Date.parse(container.created)),
    statusText(container, mounted),
    container.name,
  ];
}

/** The fields of `docker ps --format json` that a store knows. */
function document(row: Row, truncate: boolean): Record<string, string | boolean> {
  const { container, mounted } = row;
  return {
    Command: JSON.stringify(commandText(container)),
    CreatedAt: formatTime(Date.parse(container.created) || 0),
    ID: formatId(container.id, truncate),
    Image: imageOf(container, truncate),
    Labels: labelsText(container),
    Mounted: mounted,
    Names: container.name,
    RunningFor: formatAge(Date.parse(container.created)),
    State: container.state,
    Status: statusText(container, mounted),
  };
}

function imageOf({ imageName }: Container, truncate: boolean): string {
  return truncate && /^sha256:[0-9a-f]{64}$/.test(imageName) ? formatId(imageName, true) : imageName;
}

/** As docker lists them: `a=1,b=2`. */
function labelsText({ config: { Labels } }: Container): string {
  return [...(Labels ?? [])].map(([name, value]) => `${name}=${value}`).join(',');
}

function sizeText({ SizeRw, SizeRootFs }: ContainerSize): string {
  return `${formatBytes(SizeRw)} (virtual ${formatBytes(SizeRootFs)})`;
}
