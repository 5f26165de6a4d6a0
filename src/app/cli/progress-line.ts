/** Formats a line about the progress of some work, as wide as the terminal allows. */
import { formatBytes } from './format.ts';
import type { Reading } from './meter.ts';

const MAX_BAR = 30;
const MIN_BAR = 10;
/** In seconds. A longer estimate is not shown, because then the work hardly moves. */
const MAX_LEFT = 100 * 3600;

/**
 * Returns `loading:  45% [============>             ]  12.3MB/27MB  4.5MB/s  3s left`, or without a total
 * `loading: 12.3MB  4.5MB/s  2s`. At most `width` characters: the bar is left out first, then the amount,
 * then the rate.
 */
export function progressLine(doing: string, reading: Reading, width: number): string {
  const { current, total, rate, elapsed } = reading;
  const speed = rate === undefined ? '' : `${formatBytes(rate)}/s`;
  if (total === undefined || total <= 0) {
    const whole = [formatBytes(current), speed, clock(elapsed)];
    return fitting(
      [whole, whole.slice(0, 2), whole.slice(0, 1)].map((parts) => `${doing}: ${joined(parts)}`),
      width,
    );
  }
  const done = Math.min(current, total);
  const percent = `${String(Math.floor((done / total) * 100)).padStart(3)}%`;
  const rest = [`${formatBytes(done)}/${formatBytes(total)}`, speed, timeLeft(reading)];
  const head = `${doing}: ${percent}`;
  const room = width - joined([head, ...rest]).length - ' []'.length;
  if (room >= MIN_BAR) return joined([`${head} ${bar(done / total, Math.min(room, MAX_BAR))}`, ...rest]);
  return fitting(
    [joined([head, ...rest]), joined([head, ...rest.slice(1)]), joined([head, ...rest.slice(2)]), head],
    width,
  );
}

function fitting(lines: readonly string[], width: number): string {
  return lines.find((line) => line.length <= width) ?? lines.at(-1)?.slice(0, Math.max(0, width)) ?? '';
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('  ');
}

function bar(part: number, cells: number): string {
  const filled = Math.floor(part * cells);
  return `[${`${'='.repeat(filled)}${filled < cells ? '>' : ''}`.padEnd(cells)}]`;
}

function timeLeft({ current, total = 0, rate = 0 }: Reading): string {
  const seconds = rate > 0 ? (total - current) / rate : Infinity;
  return seconds > MAX_LEFT || seconds < 0 ? '' : `${clock(Math.ceil(seconds))} left`;
}

/** `42s`, `3m12s`, `1h05m`. */
export function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const pad = (value: number): string => String(value).padStart(2, '0');
  if (whole < 60) return `${String(whole)}s`;
  if (whole < 3600) return `${String(Math.floor(whole / 60))}m${pad(whole % 60)}s`;
  return `${String(Math.floor(whole / 3600))}h${pad(Math.floor((whole % 3600) / 60))}m`;
}
