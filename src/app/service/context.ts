/**
 * What every route can reach, and what a route is. A route calls the facade and answers; what it did is told by the
 * facade itself (`Layerstack.onEvent`), so that no route has to.
 */
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import type { EventBus } from './events.ts';
import type { ApiRequest } from './request.ts';

export interface ServiceContext {
  readonly store: Layerstack;
  readonly log: Logger;
  /** For those who read `docker events`. Routes give it nothing: it follows the store, which tells what is done to it. */
  readonly events: EventBus;
  /** A container is on disk when its making is answered. */
  readonly durableCreate: boolean;
}

/** One thing that the service does. */
export interface Route {
  readonly method: string;
  /**
   * The path without a version. `{name}` is one part of it, `{name...}` one or more, so that names of images may have
   * slashes. Routes are tried in their order.
   */
  readonly pattern: string;
  /** Answered until its client goes, as `docker events`: ended at once when the service stops. */
  readonly endless?: boolean;
  /** The connection may be made another protocol's, with `ApiRequest.takeOver`. */
  readonly upgrades?: boolean;
  /** Answers the request, or throws what the answer shall say. */
  readonly handle: (request: ApiRequest, service: ServiceContext) => Promise<void>;
}
