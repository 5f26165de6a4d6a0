/**
 * Whose name a request uses at a registry: its own `X-Registry-Auth`, or nobody's. What the service's user is logged in to
 * is not for its clients, so every call that reaches a registry is given a source from here.
 */
import type { Reference } from '../../core/reference.ts';
import { locateRepository } from '../../transfer/registry/address.ts';
import { fixedCredentials, type CredentialSource } from '../../transfer/registry/auth/credentials.ts';
import { parseRegistryAuth } from '../../transfer/registry/auth/registry-auth.ts';
import type { Logger } from '../../system/log.ts';
import type { ApiRequest } from './request.ts';

const NOBODY: CredentialSource = { get: () => Promise.resolve(undefined) };

/** The request's credentials for the registry of a repository, and for no other host (a mirror, another registry). */
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
    // As dockerd: old clients send what is none.
    log.warn('the X-Registry-Auth of a request is malformed, and was not used', { id: request.id });
    return NOBODY;
  }
}
