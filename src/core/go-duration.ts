/** Go's `time.Duration` in whole nanoseconds: `time.ParseDuration` and `String`. */

const UNITS: Readonly<Record<string, number>> = {
  ...{ ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 },
};
const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
/** Go's limit, about 292 years, is larger than JavaScript's exact numbers. This is 104 days. */
const MAX = Number.MAX_SAFE_INTEGER;

/** Parses `1h30m` or `1.5s`. Returns undefined for another text, and for more than 104 days. */
export function parseGoDuration(text: string): number | undefined {
  const [, sign = '', rest = ''] = /^([+-]?)(.+)$/s.exec(text) ?? [];
  if (rest === '0') return 0;
  let total = 0;
  let at = 0;
  while (at < rest.length) {
    PART.lastIndex = at;
    const found = PART.exec(rest);
    if (found === null) return undefined;
    total += Number(found[1]) * (UNITS[found[2] ?? ''] ?? 0);
    at = PART.lastIndex;
  }
  if (at === 0 || total > MAX) return undefined;
  const whole = Math.trunc(total);
  return sign === '-' ? -whole : whole;
}

/** Writes `1h30m0s`, `1.5s`, `2ms`, `0s`. */
export function formatGoDuration(nanoseconds: number): string {
  if (nanoseconds < 0) return `-${formatGoDuration(-nanoseconds)}`;
  if (nanoseconds === 0) return '0s';
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${fraction(nanoseconds, 1e3)}µs`;
  if (nanoseconds < 1e9) return `${fraction(nanoseconds, 1e6)}ms`;
  const minutes = Math.floor(nanoseconds / 60e9);
  const seconds = `${fraction(nanoseconds % 60e9, 1e9)}s`;
  if (minutes === 0) return seconds;
  const hours = Math.floor(minutes / 60);
  return hours === 0 ? `${minutes}m${seconds}` : `${hours}h${minutes % 60}m${seconds}`;
}

/** Divides without loss: the fraction has as many digits as the unit has zeros. */
function fraction(value: number, unit: number): string {
  const digits = String(value % unit)
    .padStart(String(unit).length - 1, '0')
    .replace(/0+$/, '');
  return `${Math.floor(value / unit)}${digits === '' ? '' : `.${digits}`}`;
}
