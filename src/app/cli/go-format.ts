/**
 * Formats output by `--format` with a Go template, as docker's client does (docker/cli:
 * cli/command/formatter/formatter.go).
 */
import { TemplateError } from '../../core/template/error.ts';
import { Template } from '../../core/template/template.ts';
import { TYPE, type Struct } from '../../core/template/values.ts';
import { UsageError } from './command.ts';
import { alignTabs } from './tabwriter.ts';

const TABLE = 'table';

/** The data that a template of a listing is applied to. */
export interface Listing {
  /** The name of the rows' type in Go, for messages. */
  readonly type: string;
  /** Headers of a table, by field. */
  readonly headers: Readonly<Record<string, string>>;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}

/** @throws UsageError for a text that is not a template. */
export function checkListingFormat(format: string): void {
  asUsage(() => parseListing(format));
}

/**
 * Returns the text that `docker … --format FORMAT` prints.
 * @throws UsageError for a wrong template, or one that asks for an unknown field.
 */
export function formatListing(format: string, { type, headers, rows }: Listing): string {
  return asUsage(() => {
    const { template, isTable } = parseListing(format);
    const lines = rows.map((row) => `${template.execute(named(row, type))}\n`).join('');
    return isTable ? alignTabs(`${template.header(headers)}\n${lines}`) : lines;
  });
}

function parseListing(format: string): { template: Template; isTable: boolean } {
  const isTable = format.startsWith(TABLE);
  const text = (isTable ? format.slice(TABLE.length) : format)
    .replace(/^ +| +$/g, '')
    .replaceAll('\\t', '\t')
    .replaceAll('\\n', '\n');
  return { template: new Template(text), isTable };
}

/**
 * Returns the function that formats a document by a template. Its text is taken as it is, as in docker.
 * @throws UsageError
 */
export function documentFormat(format: string): (document: Readonly<Record<string, unknown>>) => string {
  const template = asUsage(() => new Template(format));
  return (document) => asUsage(() => template.execute(document));
}

function named(row: Readonly<Record<string, unknown>>, type: string): Struct {
  return { ...row, [TYPE]: type };
}

function asUsage<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new UsageError(`template parsing error: ${error.message}`, { cause: error });
  }
}
