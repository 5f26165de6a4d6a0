/** Every route of the service; the first that fits a request answers it. */
import type { Route } from '../context.ts';
import { commitRoutes } from './commit.ts';
import { imageChangeRoutes } from './image-change.ts';
import { imageCreateRoutes } from './image-create.ts';
import { imageListRoutes } from './image-list.ts';
import { imageLoadRoutes } from './image-load.ts';
import { imageReadRoutes } from './image-read.ts';
import { pingRoutes } from './ping.ts';

export const ROUTES: readonly Route[] = [
  ...pingRoutes,
  ...imageListRoutes,
  ...imageLoadRoutes,
  ...imageCreateRoutes,
  ...imageReadRoutes,
  ...imageChangeRoutes,
  ...commitRoutes,
];
