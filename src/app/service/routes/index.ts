/** Every route of the service; the first that fits a request answers it. */
import type { Route } from '../context.ts';
import { imageListRoutes } from './image-list.ts';
import { pingRoutes } from './ping.ts';

export const ROUTES: readonly Route[] = [...pingRoutes, ...imageListRoutes];
