/** Names of images in requests. They come in two query parameters; the second may hold a tag. */
import { formatReference, parseReference, withDefaultTag } from '../../core/reference.ts';
import type { Query } from './query.ts';
import { HttpError } from './status.ts';

/**
 * Returns the new name from `repo` and `tag`; undefined without `repo`. A `tag` overrides a tag in `repo`.
 * Mirrors `moby/moby: api/server/httputils/form.go` (RepoTagReference).
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID
 * @throws {@link HttpError} 400 for a digest, which cannot be a new name
 */
export function newReference(query: Query): string | undefined {
  const repo = query.text('repo');
  if (repo === undefined) return undefined;
  const { repository, tag, digest } = parseReference(repo);
  if (digest !== undefined)
    throw new HttpError(400, `refusing to create a tag with a digest reference: ${repo}`);
  return formatReference(withDefaultTag({ repository, tag: query.text('tag') ?? tag ?? 'latest' }));
}
