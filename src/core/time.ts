/**
 * Times as Go reads and writes them (RFC 3339 with up to nine fraction digits, with the offset). JavaScript's
 * Date has neither nanoseconds nor an offset, so a time stays text, in Go's spelling.
 */

/** Go's zero time, which stands for "none" in docker's documents. */
export const ZERO_TIME = '0001-01-01T00:00:00Z';

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))$/;

/** A point in time. */
export interface Time {
  /** RFC 3339 as Go's RFC3339Nano format writes it: no trailing zeros in the fraction, `Z` for offset 0. */
  readonly text: string;
  /** Whole seconds since 1970, rounded down. */
  readonly unix: number;
}

/** Parses an RFC 3339 time. Returns undefined where the text is malformed. */
export function parseTime(text: string): Time | undefined {
  const match = RFC3339.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second] = match.map(Number) as [number, ...number[]];
  if (year === undefined || month === undefined || day === undefined) return undefined;
  if (hour === undefined || minute === undefined || second === undefined) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  // Date carries a field that is out of range into the next field.
  const carried =
    date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59;
  const [offsetHours, offsetMinutes] = [Number(match[9] ?? 0), Number(match[10] ?? 0)];
  if (carried || offsetHours > 24 || offsetMinutes > 59) return undefined;

  const offset = (match[8] === '-' ? -60 : 60) * (offsetHours * 60 + offsetMinutes);
  const fraction = (match[7] ?? '').slice(0, 9).replace(/0+$/, '');
  const zone = offset === 0 ? 'Z' : text.slice(-6);
  return {
    text: text.slice(0, 19) + (fraction === '' ? '' : `.${fraction}`) + zone,
    unix: date.getTime() / 1000 - offset,
  };
}

/** Returns the time with the local offset, as dockerd writes its own times, to the millisecond. */
export function localTime(date: Date): string {
  const pad = (value: number, width = 2): string => String(value).padStart(width, '0');
  const day = `${pad(date.getFullYear(), 4)}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  const fraction = pad(date.getMilliseconds(), 3).replace(/0+$/, '');
  const offset = -date.getTimezoneOffset();
  const zone = `${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  return `${day}T${clock}${fraction === '' ? '' : `.${fraction}`}${offset === 0 ? 'Z' : zone}`;
}

/** Returns the time `seconds` after 1970, by default the current time. */
export function timeOf(seconds?: number): Time {
  const time = parseTime((seconds === undefined ? new Date() : new Date(seconds * 1000)).toISOString());
  if (!time) throw new RangeError(`not a time: ${String(seconds)}`);
  return time;
}

/** Returns a negative number where `a` is before `b`, and 0 where they are the same instant. */
export function compareTimes(a: Time, b: Time): number {
  return a.unix - b.unix || nanoseconds(a) - nanoseconds(b);
}

/** Nanoseconds since 1970, which a JavaScript number cannot hold. */
export function unixNanoseconds(time: Time): bigint {
  return BigInt(time.unix) * 1_000_000_000n + BigInt(nanoseconds(time));
}

function nanoseconds({ text }: Time): number {
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? '';
  return Number(fraction.padEnd(9, '0'));
}

/**
 * Returns the current time in nanoseconds since 1970. No two results are equal, although the system clock
 * only gives milliseconds and may be set back.
 */
export class NanoClock {
  #latest = 0n;

  now(): bigint {
    const clock = BigInt(Date.now()) * 1_000_000n;
    this.#latest = clock > this.#latest ? clock : this.#latest + 1n;
    return this.#latest;
  }
}
