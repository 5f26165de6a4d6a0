/** What every route can reach, and what a route is. */
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import type { ApiRequest } from './request.ts';

/** What happened to an object, in the terms of docker's events; who takes it adds the time. */
export interface ServiceEvent {
  readonly Type: 'image' | 'container';
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
}

export interface ServiceContext {
  readonly store: Layerstack;
  readonly log: Logger;
  /** Takes what the routes did, for `docker events`; returns at once. */
  readonly events: { emit(event: ServiceEvent): void };
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
  /** Answers the request, or throws what the answer shall say. */
  readonly handle: (request: ApiRequest, service: ServiceContext) => Promise<void>;
}
