/**
 * Queries to registries that store nothing: `POST /auth` checks credentials, `GET /distribution/{name}/json`
 * describes a manifest. Mirrors `moby/moby: api/server/router/{system,distribution}` at v28.
 */
import { parseReference } from '../../../core/reference.ts';
import { parseAuthConfig } from '../../../transfer/registry/auth/registry-auth.ts';
import type { RemoteManifest } from '../../../transfer/remote/remote.ts';
import type { Route, ServiceContext } from '../context.ts';
import { requestCredentials } from '../registry-credentials.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';

/** Identity tokens have some kilobytes. */
const MAX_AUTH = 128 * 1024;

export const registryRoutes: readonly Route[] = [
  { method: 'POST', pattern: '/auth', handle: authenticate },
  { method: 'GET', pattern: '/distribution/{name...}/json', handle: inspectRemote },
];

async function authenticate(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const body = await request.jsonBytes(MAX_AUTH);
  const { credentials = {}, serverAddress } = parseAuthConfig(body, 'the request body');
  const { Status, IdentityToken } = await store.registry.login(serverAddress, credentials, {
    keep: false,
    signal: request.signal,
  });
  sendJson(request, 200, { Status, IdentityToken });
}

async function inspectRemote(request: ApiRequest, { store, log }: ServiceContext): Promise<void> {
  const reference = request.param('name');
  const manifest = await store.registry.manifest(reference, {
    images: true,
    credentials: requestCredentials(request, parseReference(reference), log),
    signal: request.signal,
  });
  sendJson(request, 200, {
    Descriptor: {
      mediaType: manifest.mediaType,
      digest: manifest.digest,
      size: manifest.bytes.length,
    },
    Platforms: platformsOf(manifest),
  });
}

function platformsOf({ platform, images = [] }: RemoteManifest): unknown[] {
  return [...(platform ? [platform] : []), ...images.flatMap(platformsOf)];
}
