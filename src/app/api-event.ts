/** Store events in the form of docker's API (moby/moby: api/types/events at v20.10). */
import type { StoreEvent } from './store-events.ts';

/** One event in the form of docker's API, with its fields in docker's order. */
export interface ApiEvent {
  /** As {@link Action}, for clients of API versions before 1.22. */
  readonly status: string;
  readonly id?: string | undefined;
  /** The image of a container, as it was named. */
  readonly from?: string | undefined;
  readonly Type: StoreEvent['type'];
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: 'local';
  /** Seconds since 1970. */
  readonly time: number;
  /** Nanoseconds since 1970. */
  readonly timeNano: bigint;
}

export function toApiEvent({ type, action, id, attributes }: StoreEvent, timeNano: bigint): ApiEvent {
  return {
    status: action,
    id: id === '' ? undefined : id,
    from: type === 'container' ? attributes['image'] : undefined,
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    scope: 'local',
    time: Number(timeNano / 1_000_000_000n),
    timeNano,
  };
}
