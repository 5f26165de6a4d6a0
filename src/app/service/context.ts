/**
 * The objects that every route can reach, and the shape of a route. A route calls the facade and answers. The
 * facade itself reports each change (`Layerstack.onEvent`), so a route does not.
 */
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import type { EventBus } from './events.ts';
import type { ApiRequest } from './request.ts';

export interface ServiceContext {
  readonly store: Layerstack;
  readonly log: Logger;
  /**
   * For clients of `docker events`. Routes emit nothing: the bus follows the store, which reports its own
   * changes.
   */
  readonly events: EventBus;
  /** The answer to a create waits until the container is on disk. */
  readonly durableCreate: boolean;
}

/** One operation of the service. */
export interface Route {
  readonly method: string;
  /**
   * The path without a version. `{name}` matches one part of it, `{name...}` one or more, so that names of
   * images may have slashes. The router tries the routes in their order.
   */
  readonly pattern: string;
  /**
   * The answer lasts until the client disconnects, as for `docker events`. It ends at once when the service
   * stops.
   */
  readonly endless?: boolean;
  /** The route may switch the connection to another protocol, with `ApiRequest.takeOver`. */
  readonly upgrades?: boolean;
  /** Answers the request, or throws an error for the answer. */
  readonly handle: (request: ApiRequest, service: ServiceContext) => Promise<void>;
}
