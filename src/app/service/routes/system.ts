/**
 * `version`, `info` and `system/df`: the server's part of docker's commands with these names. Mirrors
 * `moby/moby: api/server/router/system/system_routes.go`, daemon/{info,disk_usage}.go at v20.10.
 */
import { infoDocument } from '../info.ts';
import type { DiskUsage } from '../../disk-usage.ts';
import { ContainerSummaries } from '../container-summary.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { versionDocument } from '../version-document.ts';
import { imageSummary } from './image-list.ts';
import { volumeUsage } from './volumes.ts';

const USAGE_TYPES = ['image', 'container', 'volume', 'build-cache'];

export const systemRoutes: readonly Route[] = [
  {
    method: 'GET',
    pattern: '/version',
    handle: (request) => {
      sendJson(request, 200, versionDocument());
      return Promise.resolve();
    },
  },
  {
    method: 'GET',
    pattern: '/info',
    handle: async (request, service) => {
      sendJson(request, 200, await infoDocument(service, (version) => request.since(version)));
    },
  },
  { method: 'GET', pattern: '/system/df', handle: sendUsage },
];

async function sendUsage(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const types = request.query.all('type');
  const unknown = types.find((type) => !USAGE_TYPES.includes(type));
  if (unknown !== undefined) throw new HttpError(400, `unknown object type: ${unknown}`);
  const wants = (type: string): boolean => types.length === 0 || types.includes(type);
  const usage = await store.usage();
  const document = {
    ...(wants('image') && {
      LayersSize: usage.LayersSize,
      Images: usage.Images.map((image) => imageSummary(image, request)),
    }),
    ...(wants('container') && { Containers: await containersOf(usage, await ContainerSummaries.of(store)) }),
    ...(wants('volume') && { Volumes: await volumeUsage(store) }),
    ...(wants('build-cache') && { BuildCache: [], ...(!request.since('1.42') && { BuilderSize: 0 }) }),
  };
  sendJson(request, 200, document);
}

async function containersOf({ Containers }: DiskUsage, summaries: ContainerSummaries): Promise<unknown[]> {
  const rows = [];
  for (const { container, size, rootSize, mounted } of Containers)
    rows.push(await summaries.summary({ container, mounted, size: { SizeRw: size, SizeRootFs: rootSize } }));
  return rows;
}
