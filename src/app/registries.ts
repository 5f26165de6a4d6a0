/** How the facade reaches registries: what the operator has set, and whose credentials are used. */
import type { Logger } from '../system/log.ts';
import type { CredentialSource } from '../transfer/registry/auth/credentials.ts';
import { DockerConfig } from '../transfer/registry/auth/docker-config.ts';
import { openRepository, type RegistryAccess, type RepositoryClient } from '../transfer/registry/client.ts';
import { NO_SETTINGS } from '../transfer/registry/settings.ts';

export interface RegistryOptions {
  /** Default: what docker's (or podman's) files of this user say; see `layerstack login`. */
  readonly credentials?: CredentialSource | undefined;
}

/** A client of the repository (in familiar form). Dispose of it. */
export function connect(repository: string, { credentials }: RegistryOptions, log: Logger): RepositoryClient {
  const access: RegistryAccess = {
    settings: NO_SETTINGS,
    credentials: credentials ?? new DockerConfig(),
    log,
  };
  return openRepository(repository, access);
}
