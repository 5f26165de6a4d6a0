/** `--filter NAME=VALUE` of the listing commands, with docker's names. */
import { LayerstackError } from '../../core/errors.ts';
import { parseTimestamp } from '../../core/timestamp.ts';
import type { ImageFilters } from '../../image/store.ts';
import { UsageError } from './command.ts';

type FilterName = 'dangling' | 'label' | 'label!' | 'before' | 'since' | 'until' | 'reference';

/**
 * Parses the given filters; `accepted` are the filters that the command knows.
 * @throws UsageError for an unknown filter, one without a value, or a second one where only one is possible.
 */
export function parseFilters(given: readonly string[], accepted: readonly FilterName[]): ImageFilters {
  const values = new Map<FilterName, string[]>();
  for (const filter of given) {
    const [, name = '', unequal = '', value] = /^([^=!]*)(!?)=([^]*)$/.exec(filter) ?? [];
    const full = accepted.find((known) => known === name.trim().toLowerCase() + unequal);
    if (full === undefined || value === undefined)
      throw new UsageError(
        `--filter ${JSON.stringify(filter)}: use ${accepted.map((known) => `${known}=…`).join(', ')}`,
      );
    values.set(full, [...(values.get(full) ?? []), value.trim()]);
  }
  const one = (name: FilterName): string | undefined => {
    const [first, second] = values.get(name) ?? [];
    if (second !== undefined) throw new UsageError(`--filter ${name} is given twice`);
    return first;
  };
  for (const until of values.get('until') ?? []) checkTime('--filter until', until);
  return {
    dangling: boolean(one('dangling')),
    label: values.get('label'),
    notLabel: values.get('label!'),
    before: values.get('before'),
    since: values.get('since'),
    until: values.get('until'),
    reference: values.get('reference'),
  };
}

/** @throws UsageError for a text that is not a time. */
export function checkTime(option: string, text: string): void {
  try {
    parseTimestamp(option, text);
  } catch (error) {
    throw LayerstackError.is(error) ? new UsageError(error.message, { cause: error }) : error;
  }
}

function boolean(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw new UsageError(`--filter dangling=${text}: use true or false`);
}
