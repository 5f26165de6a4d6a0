/**
 * Parses times as people give them to docker's filters: a duration before now (`10m`, `1h30m`), a date with
 * or without time and zone (default: the local zone), or seconds since 1970. Mirrors `moby/moby:
 * api/types/time/timestamp.go` at v20.10.
 */
import { LayerstackError } from './errors.ts';
import { parseTime, type Time } from './time.ts';

const DURATION = /^(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)/;
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const DATE = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d){0,2}(?:\.\d+)?))?(Z|[+-]\d\d:\d\d)?$/;

/**
 * @param option - the option that has the text as its value, for the message
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT when the text has none of these forms.
 */
export function parseTimestamp(option: string, text: string, now = new Date()): Time {
  const found = ago(text, now) ?? date(text) ?? seconds(text);
  if (found !== undefined) return found;
  throw new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${option} ${JSON.stringify(text)} is not a time: give a duration (10m, 1h30m), a date (2024-05-01T10:00:00Z) or ` +
      'seconds since 1970',
  );
}

function ago(text: string, now: Date): Time | undefined {
  const [sign = ''] = /^[+-]/.exec(text) ?? [];
  let rest = text.slice(sign.length);
  let total = 0;
  for (let part = DURATION.exec(rest)?.[0]; part !== undefined; part = DURATION.exec(rest)?.[0]) {
    total += Number.parseFloat(part) * (UNIT_MS[part.replace(/^[\d.]+/, '')] ?? 0);
    rest = rest.slice(part.length);
  }
  if (total === 0 && !/\d/.test(text)) return undefined;
  return rest === '' ? fromDate(new Date(now.getTime() + (sign === '-' ? total : -total))) : undefined;
}

function date(text: string): Time | undefined {
  const [, day, clock = '00', zone] = DATE.exec(text) ?? [];
  if (day === undefined) return undefined;
  const [hour, minute = '00', second = '00'] = clock.split(':');
  const local = `${day}T${hour ?? '00'}:${minute}:${second}`;
  // Date reads the 31st of February as a day in March.
  const utc = parseTime(`${local}Z`);
  if (utc === undefined) return undefined;
  return zone === undefined ? fromDate(new Date(local)) : parseTime(local + zone);
}

function seconds(text: string): Time | undefined {
  const [, whole, fraction = ''] = /^(\d{1,12})(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (whole === undefined) return undefined;
  const at = new Date(Number(whole) * 1000).toISOString().replace('.000Z', `.${fraction.padEnd(9, '0')}Z`);
  return parseTime(at);
}

function fromDate(at: Date): Time | undefined {
  return Number.isNaN(at.getTime()) ? undefined : parseTime(at.toISOString());
}
