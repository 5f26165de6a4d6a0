/** Sizes as docker prints them (docker/go-units: size.go). */

const DECIMAL = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'] as const;

/** `77.8MB`: three significant digits (docker's client has four in sums), powers of 1000. */
export function formatBytes(bytes: number, digits = 3): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < DECIMAL.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${significant(value, digits)}${DECIMAL[unit] ?? ''}`;
}

/** Go's `%.3g` for 0 <= value < 1000; 999.9 becomes 1e+03 there, and here. */
function significant(value: number, digits: number): string {
  const rounded = Number(value.toPrecision(digits));
  return digits <= 3 && rounded >= 1000 ? '1e+03' : String(rounded);
}
