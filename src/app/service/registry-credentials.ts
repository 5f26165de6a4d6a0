/**
 * The credentials of a request at a registry: its own `X-Registry-Auth` or `X-Registry-Config`, or none. The
 * logins of the service's own user are not for its clients, so every call that reaches a registry gets its
 * credentials from here.
 */
import type { Reference } from '../../core/reference.ts';
import { locateRepository } from '../../transfer/registry/address.ts';
import { fixedCredentials, type CredentialSource } from '../../transfer/registry/auth/credentials.ts';
import { parseRegistryAuth, parseRegistryConfig } from '../../transfer/registry/auth/registry-auth.ts';
import type { Logger } from '../../system/log.ts';
import type { ApiRequest } from './request.ts';

const NOBODY: CredentialSource = { get: () => Promise.resolve(undefined) };

/**
 * Returns the request's credentials for the registry of a repository, and for no other host (a mirror,
 * another registry).
 */
export function requestCredentials(
  request: ApiRequest,
  { repository }: Pick<Reference, 'repository'>,
  log: Pick<Logger, 'warn'>,
): CredentialSource {
  try {
    const auth = parseRegistryAuth(request.header('x-registry-auth'));
    if (auth?.credentials === undefined) return NOBODY;
    return fixedCredentials(locateRepository(repository).registry.host, auth.credentials);
  } catch {
    // Ignored, as in dockerd: old clients send malformed ones.
    log.warn('ignoring the malformed X-Registry-Auth header of a request', { id: request.id });
    return NOBODY;
  }
}

/** Returns the credentials that a build has for the registries of its images. */
export function buildCredentials(request: ApiRequest, log: Pick<Logger, 'warn'>): CredentialSource {
  const header = request.header('x-registry-config');
  try {
    return header === undefined ? NOBODY : parseRegistryConfig(header);
  } catch {
    // Ignored, as in dockerd: the images may be public.
    log.warn('ignoring the malformed X-Registry-Config header of a request', { id: request.id });
    return NOBODY;
  }
}
