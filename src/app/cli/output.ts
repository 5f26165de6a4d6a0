/**
 * Prints the results of commands on stdout: tables in the form of docker's client (columns at least 10 wide,
 * 3 spaces between them, the last one not padded), or one JSON document a line.
 */
import type { DeletedRecord } from '../../image/store.ts';
import { UsageError, type Context } from './command.ts';
import type { Listing } from './go-format.ts';

/**
 * Returns a name for a list with one name on each line. A name that holds a line break becomes a JSON string,
 * `"a\nb"`: otherwise a reader might see two names, or a line of another kind.
 */
export function quoteName(name: string): string {
  return name.includes('\n') ? JSON.stringify(name) : name;
}

/** Prints a document over several lines. */
export function printJson(
  { print }: Pick<Context, 'print'>,
  document: unknown,
  indent: number | string | undefined,
): void {
  print(...JSON.stringify(document, undefined, indent).split('\n'));
}

/**
 * Returns the lines of a table, one for each row, with cells as in {@link quoteName}. Each row has as many
 * cells as `header`.
 */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [header, ...rows.map((row) => row.map(quoteName))];
  const widths = header.map((_, column) =>
    lines.reduce((widest, line) => Math.max(widest, countCharacters(line[column] ?? '') + 3), 10),
  );
  return lines.map((line) =>
    line
      .map((cell, column) =>
        column === line.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - countCharacters(cell)),
      )
      .join(''),
  );
}

/** Counts code points. An array of them would take longer to make than the rest of a table. */
function countCharacters(text: string): number {
  return text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
}

/** Output forms of the listing commands that also take templates. */
export type ListingFormat = OutputFormat | { readonly template: string };

/**
 * Parses a word, or a Go template as docker's users write it, before a store is opened. `raw` is the template
 * that this word stands for, where the command has one.
 * @throws UsageError
 */
export async function parseListingFormat(text: string | undefined, raw?: string): Promise<ListingFormat> {
  if (text === undefined || text === '' || text === 'table') return 'table';
  if (text === 'json' || text === '{{json .}}') return 'json';
  if (text === 'raw' && raw !== undefined) return { template: raw };
  const { checkListingFormat } = await goFormat();
  checkListingFormat(text);
  return { template: text };
}

/** Prints the text of a template, which ends its own lines. */
export async function printListing(
  { print }: Pick<Context, 'print'>,
  template: string,
  listing: Listing,
): Promise<void> {
  const { formatListing } = await goFormat();
  const text = formatListing(template, listing);
  if (text !== '') print(...text.replace(/\n$/, '').split('\n'));
}

/** Imported late: only a template needs it. */
const goFormat = () => import('./go-format.ts');

/** Output forms of the listing commands. */
export type OutputFormat = 'table' | 'json';

/** @throws UsageError for any other text, such as a Go template. */
export function parseFormat(text: string | undefined): OutputFormat {
  if (text === undefined || text === 'table') return 'table';
  if (text === 'json' || text === '{{json .}}') return 'json';
  throw new UsageError(`--format ${JSON.stringify(text)} is not supported: use table or json`);
}

/** Returns the lines that `docker rmi` prints. */
export function deletedLines(records: readonly DeletedRecord[]): string[] {
  return records.map((record) =>
    'Untagged' in record ? `Untagged: ${record.Untagged}` : `Deleted: ${record.Deleted}`,
  );
}
