/** What a pull needs of a repository; RepositoryClient (transfer/registry/client.ts) has it. */
import type { RepositoryClient, RequestOptions } from '../registry/client.ts';

export type PullSource = Pick<RepositoryClient, 'repository' | 'fetchManifest' | 'openBlob'>;

export interface TagSource {
  /** The repository's tags, in the registry's order. */
  tags(options?: RequestOptions): AsyncIterable<string>;
}
