/** Names of images as requests give them: in two query parameters, of which the second may say a tag. */
import { formatReference, parseReference, withDefaultTag } from '../../core/reference.ts';
import type { Query } from './query.ts';
import { HttpError } from './status.ts';

/**
 * The `repo` and `tag` of a new name; undefined without `repo`. A tag of its own wins over one in `repo`.
 * Mirrors `moby/moby: api/server/httputils/form.go` (RepoTagReference).
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID
 * @throws {@link HttpError} 400 for a digest, which nothing can be named
 */
export function newReference(query: Query): string | undefined {
  const repo = query.text('repo');
  if (repo === undefined) return undefined;
  const { repository, tag, digest } = parseReference(repo);
  if (digest !== undefined)
    throw new HttpError(400, `refusing to create a tag with a digest reference: ${repo}`);
  return formatReference(withDefaultTag({ repository, tag: query.text('tag') ?? tag ?? 'latest' }));
}
