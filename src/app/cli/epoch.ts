/** SOURCE_DATE_EPOCH of reproducible-builds.org: the date of what is built, in seconds since 1970. */
import { UsageError } from './command.ts';

/**
 * Undefined where it is not set.
 * @throws UsageError where it is no number of seconds.
 */
export function sourceDateEpoch(environment = process.env): number | undefined {
  const text = environment['SOURCE_DATE_EPOCH'];
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  // JavaScript's last day.
  if (!/^\d+$/.test(text) || seconds > 8_640_000_000_000)
    throw new UsageError(`SOURCE_DATE_EPOCH=${text} is no number of seconds`);
  return seconds;
}
