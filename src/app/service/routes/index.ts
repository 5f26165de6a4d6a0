/** Every route of the service; the first that fits a request answers it. */
import type { Route } from '../context.ts';
import { absentRoutes } from './absent.ts';
import { containerArchiveRoutes } from './container-archive.ts';
import { containerCreateRoutes } from './container-create.ts';
import { containerRoutes } from './containers.ts';
import { eventRoutes } from './events.ts';
import { imageListRoutes } from './image-list.ts';
import { ownRoutes } from './own.ts';
import { pingRoutes } from './ping.ts';
import { systemRoutes } from './system.ts';

export const ROUTES: readonly Route[] = [
  ...pingRoutes,
  ...imageListRoutes,
  ...containerCreateRoutes,
  ...containerRoutes,
  ...containerArchiveRoutes,
  ...eventRoutes,
  ...systemRoutes,
  ...absentRoutes,
  ...ownRoutes,
];
