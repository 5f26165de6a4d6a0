/** What a pull needs of a repository; RepositoryClient (transfer/registry/client.ts) has it. */
import type { RepositoryClient } from '../registry/client.ts';

export type PullSource = Pick<RepositoryClient, 'repository' | 'retry' | 'fetchManifest' | 'openBlob'>;
export type TagSource = Pick<RepositoryClient, 'tags'>;
