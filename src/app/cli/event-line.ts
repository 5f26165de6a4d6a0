/** Formats an event as docker's client does (docker/cli: cli/command/system/events.go). */
import { compareBytes } from '../../core/bytes.ts';
import { localTime } from '../../core/time.ts';
import type { ApiEvent } from '../api-event.ts';
import { quoteName } from './output.ts';

/** Returns e.g. `2024-05-01T10:00:00.123000000+02:00 image tag sha256:… (name=app:2)`. */
export function eventLine({ Type, Action, Actor, timeNano }: ApiEvent): string {
  const attributes = Object.entries(Actor.Attributes).sort(([a], [b]) => compareBytes(a, b));
  const shown = attributes.map(([key, value]) => `${key}=${value}`).join(', ');
  const what = `${Type} ${Action} ${Actor.ID}${attributes.length > 0 ? ` (${shown})` : ''}`;
  return `${eventTime(timeNano)} ${quoteName(what)}`;
}

/** Returns a time in Go's RFC 3339 with nine digits, in the local zone. */
function eventTime(timeNano: bigint): string {
  const seconds = localTime(new Date(Number(timeNano / 1_000_000_000n) * 1000));
  const nanoseconds = String(timeNano % 1_000_000_000n).padStart(9, '0');
  return `${seconds.slice(0, 19)}.${nanoseconds}${seconds.slice(19)}`;
}
