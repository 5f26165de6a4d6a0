/**
 * Formats ages and ids as docker's client does (docker/go-units: duration.go), and parses sizes as people
 * type them. core/units.ts formats sizes.
 */
import { formatBytes } from '../../core/units.ts';
import { UsageError } from './command.ts';

export { formatBytes };

/** Returns e.g. `About an hour`, `3 weeks`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const minutes = Math.floor(milliseconds / 60_000);
  const hours = Math.floor(milliseconds / 3_600_000 + 0.5);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  const days = Math.floor(hours / 24);
  if (hours < 24 * 7 * 2) return `${days} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(days / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(milliseconds / 3_600_000 / 24 / 365)} years`;
}

/** Returns e.g. `3 weeks ago`; `N/A` where the time is not known. */
export function formatAge(unixMs: number | undefined, now = Date.now()): string {
  return unixMs === undefined || Number.isNaN(unixMs) ? 'N/A' : `${formatDuration(now - unixMs)} ago`;
}

/** Returns a time as Go prints it: `2023-05-01 12:00:00 +0000 UTC`. */
export function formatTime(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC`;
}

/** Returns e.g. `2023-05-01T12:00:00Z`. */
export function formatRfc3339(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 19)}Z`;
}

/** Returns the first 12 hex digits of an id; without truncation the whole id with its algorithm. */
export function formatId(id: string, truncate: boolean): string {
  return truncate ? id.replace(/^sha256:/, '').slice(0, 12) : id;
}

/** Returns at most `length` characters. The last one is `…` where text was cut off. */
export function ellipsis(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}

const BINARY: Readonly<Record<string, number>> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * Returns the bytes that `10G`, `512m`, `1.5GiB` or `4096` means: in powers of 1024, as docker reads sizes.
 * @throws UsageError when the text is not a size.
 */
export function parseBytes(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match && Number(match[1]) * 1024 ** (BINARY[(match[2] ?? '').toLowerCase()] ?? 0);
  if (!bytes || !Number.isSafeInteger(Math.floor(bytes)))
    throw new UsageError(`${option} ${JSON.stringify(text)} is not a size: write 4096, 512M or 10G`);
  return Math.floor(bytes);
}

/** @throws UsageError unless the text is a whole number from 1 to 9999. */
export function parseCount(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new UsageError(`${option} ${JSON.stringify(text)}: give a number from 1 to 9999`);
}
