/** How the facade reaches registries: what the operator has set for them, and whose credentials are used. */
import type { Root } from '../system/root.ts';
import type { CredentialSource } from '../transfer/registry/auth/credentials.ts';
import { DockerConfig } from '../transfer/registry/auth/docker-config.ts';
import { openRepository, type RepositoryClient } from '../transfer/registry/client.ts';
import { readSettings } from '../transfer/registry/settings.ts';

export interface RegistryOptions {
  /** Default: what docker's (or podman's) files of this user say; see `layerstack login`. */
  readonly credentials?: CredentialSource | undefined;
}

/**
 * A client of the repository (in familiar form). Dispose of it.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS for a malformed `layerstack/registries.json`.
 */
export async function connect(
  { layout, log }: Pick<Root, 'layout' | 'log'>,
  repository: string,
  { credentials = new DockerConfig() }: RegistryOptions,
): Promise<RepositoryClient> {
  const settings = await readSettings(layout.at(layout.registrySettings));
  return openRepository(repository, { settings, credentials, log });
}
