/** SOURCE_DATE_EPOCH of reproducible-builds.org: the date of what is built, in seconds since 1970. */
import { UsageError } from './command.ts';

/**
 * Returns undefined where the variable is not set.
 * @throws UsageError where the variable is not a number of seconds.
 */
export function sourceDateEpoch(environment = process.env): number | undefined {
  const text = environment['SOURCE_DATE_EPOCH'];
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  // The last second of JavaScript's dates.
  if (!/^\d+$/.test(text) || seconds > 8_640_000_000_000)
    throw new UsageError(`SOURCE_DATE_EPOCH=${text} is not a number of seconds`);
  return seconds;
}
