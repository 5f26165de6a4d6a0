/**
 * The parts of a repository that a pull needs, as RepositoryClient (transfer/registry/client.ts) has them.
 */
import type { RepositoryClient } from '../registry/client.ts';

export type PullSource = Pick<RepositoryClient, 'repository' | 'retry' | 'fetchManifest' | 'openBlob'>;
export type TagSource = Pick<RepositoryClient, 'tags'>;
