/** `layerstack containers`: the table of `docker ps -a`; a mounted container says so. */
import type { Container } from '../../../container/record.ts';
import { commandText, statusText } from '../../container-text.ts';
import { defineCommand } from '../command.ts';
import { ellipsis, formatAge, formatId, formatTime } from '../format.ts';
import { formatTable, parseFormat } from '../output.ts';

interface Row {
  readonly container: Container;
  readonly mounted: boolean;
}

export const command = defineCommand({
  usage: '[OPTIONS]',
  description: 'Lists containers, newest first, those of dockerd too.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'no effect: all are always shown' },
    quiet: { type: 'boolean', short: 'q', help: 'ids only' },
    'no-trunc': { type: 'boolean', help: 'whole ids and commands' },
    format: { type: 'string', value: 'json', help: 'one JSON document a line' },
  },
  operands: { min: 0, max: 0 },
  async run(context, values) {
    const format = parseFormat(values.format);
    const truncate = values['no-trunc'] !== true;
    await using store = await context.open();
    const containers = await store.containers();
    if (values.quiet) {
      context.print(...containers.map(({ id }) => formatId(id, truncate)));
      return;
    }
    const rows = await Promise.all(
      containers.map(async (container) => ({ container, mounted: await store.isMounted(container) })),
    );
    if (format === 'json') context.print(...rows.map((row) => JSON.stringify(document(row, truncate))));
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
