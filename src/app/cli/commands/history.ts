/** `layerstack history`: prints the table of `docker history`. */
import type { HistoryRow } from '../../../image/store.ts';
import { defineCommand } from '../command.ts';
import { ellipsis, formatAge, formatBytes, formatId, formatRfc3339 } from '../format.ts';
import { formatTable, parseListingFormat, printListing } from '../output.ts';

/** `docker history` cuts commands to this width. */
const COMMAND_WIDTH = 45;

const HEADERS: Readonly<Record<string, string>> = {
  ...{ ID: 'IMAGE', CreatedSince: 'CREATED', CreatedAt: 'CREATED AT', CreatedBy: 'CREATED BY' },
  ...{ Size: 'SIZE', Comment: 'COMMENT' },
};

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE',
  description: 'Show how an image was made, newest step first.',
  options: {
    quiet: { type: 'boolean', short: 'q', help: 'print ids only' },
    'no-trunc': { type: 'boolean', help: 'print whole ids and commands' },
    raw: { type: 'boolean', help: 'print sizes in bytes and times as dates (docker: --human=false)' },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['table', 'json'],
      help: 'table, json (one document a line), or a Go template such as {{.ID}}',
    },
  },
  operands: { min: 1, max: 1, kinds: ['image'] },
  examples: [{ command: 'layerstack history --no-trunc app:1', does: 'shows how an image was made' }],
  async run(context, values, [image = '']) {
    const format = await parseListingFormat(values.format);
    const truncate = values['no-trunc'] !== true;
    await using store = await context.open();
    const rows = await store.images.history(image);
    const human = values.raw !== true;
    if (typeof format === 'object')
      await printListing(context, format.template, {
        type: '*formatter.historyContext',
        headers: HEADERS,
        rows: rows.map((row) => ({ ...document(row, truncate, human) })),
      });
    else if (values.quiet) context.print(...rows.map(({ Id }) => formatId(Id, truncate)));
    else if (format === 'json')
      context.print(...rows.map((row) => JSON.stringify(document(row, truncate, human))));
    else
      context.print(
        ...formatTable(
          ['IMAGE', human ? 'CREATED' : 'CREATED AT', 'CREATED BY', 'SIZE', 'COMMENT'],
          rows.map((row) => {
            const { ID, CreatedSince, CreatedAt, CreatedBy, Size, Comment } = document(row, truncate, human);
            return [ID, human ? CreatedSince : CreatedAt, CreatedBy, Size, Comment];
          }),
        ),
      );
  },
});

function document(row: HistoryRow, truncate: boolean, human: boolean) {
  const createdBy = row.CreatedBy.replaceAll('\t', ' ');
  // The year 1 means that the time is not known.
  const unixMs = row.Created < 0 ? undefined : row.Created * 1000;
  return {
    Comment: row.Comment,
    CreatedAt: unixMs === undefined ? 'N/A' : formatRfc3339(unixMs),
    CreatedBy: truncate ? ellipsis(createdBy, COMMAND_WIDTH) : createdBy,
    CreatedSince: formatAge(unixMs),
    ID: formatId(row.Id, truncate),
    Size: human ? formatBytes(row.Size) : String(row.Size),
  };
}
