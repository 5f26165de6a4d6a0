/** All routes of the service. The first one that matches a request answers it. */
import type { Route } from '../context.ts';
import { absentRoutes } from './absent.ts';
import { buildRoutes } from './build.ts';
import { commitRoutes } from './commit.ts';
import { containerArchiveRoutes } from './container-archive.ts';
import { containerCreateRoutes } from './container-create.ts';
import { containerProcessRoutes } from './container-process.ts';
import { containerRoutes } from './containers.ts';
import { eventRoutes } from './events.ts';
import { imageBuildRoutes } from './image-build.ts';
import { imageChangeRoutes } from './image-change.ts';
import { imageCreateRoutes } from './image-create.ts';
import { imageListRoutes } from './image-list.ts';
import { imageLoadRoutes } from './image-load.ts';
import { imagePushRoutes } from './image-push.ts';
import { imageReadRoutes } from './image-read.ts';
import { networkRoutes } from './networks.ts';
import { ownRoutes } from './own.ts';
import { pingRoutes } from './ping.ts';
import { registryRoutes } from './registry.ts';
import { systemRoutes } from './system.ts';
import { volumeRoutes } from './volumes.ts';

export const ROUTES: readonly Route[] = [
  ...pingRoutes,
  ...imageListRoutes,
  ...imageLoadRoutes,
  ...imageBuildRoutes,
  ...imageCreateRoutes,
  ...imageReadRoutes,
  ...imagePushRoutes,
  ...imageChangeRoutes,
  ...registryRoutes,
  ...commitRoutes,
  ...containerCreateRoutes,
  ...containerRoutes,
  ...containerProcessRoutes,
  ...containerArchiveRoutes,
  ...eventRoutes,
  ...systemRoutes,
  ...buildRoutes,
  ...networkRoutes,
  ...volumeRoutes,
  ...absentRoutes,
  ...ownRoutes,
];
