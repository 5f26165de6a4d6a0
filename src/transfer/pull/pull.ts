/**
 * Pulls a registry's images into the store: one image, or all tags of a repository in turn. If the pull of an
 * image fails, its downloaded bytes stay for the next pull (system/partials.ts).
 */
import { throwIfAborted } from '../../core/abort.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { parseKnownPlatform } from '../../core/platform.ts';
import { formatReference, isTag, withDefaultTag, type Reference } from '../../core/reference.ts';
import { sweepPartials } from '../../system/partials.ts';
import { ImagePull } from './image-pull.ts';
import type { PullOptions, PullResult, PullStores } from './options.ts';
import type { PullSource, TagSource } from './source.ts';

export type { PulledImage, PullOptions, PullResult } from './options.ts';

/** More tags than the largest repositories have. */
const MAX_TAGS = 100_000;

/**
 * Pulls an image. On return it is in the store, durably, contents included, and named. Pulling again fetches
 * only the manifest.
 *
 * @param source the repository of `reference`
 * @throws {@link LayerstackError} ERR_REGISTRY_* for failures of the registry; ERR_MANIFEST_INVALID,
 *   ERR_LAYER_FOREIGN, ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_PLATFORM_NOT_FOUND, ERR_DIGEST_MISMATCH,
 *   ERR_REFERENCE_CONFLICT for its content; ERR_INVALID_ARGUMENT, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE,
 *   ERR_ABORTED; and the errors of LayerStore.stage for layers.
 */
export async function pull(
  stores: PullStores,
  source: PullSource & TagSource,
  reference: Reference,
  options: PullOptions = {},
): Promise<PullResult> {
  const { allTags = false, signal } = options;
  checkOptions(reference, options);
  throwIfAborted(signal);
  stores.root.session();
  await sweepPartials(stores.root.layout, stores.root.log);
  const references = allTags ? await tagged(source, signal) : [withDefaultTag(reference)];
  const results: PullResult[] = [];
  for (const each of references) results.push(await new ImagePull({ stores, source, options }, each).run());
  return {
    images: results.flatMap(({ images }) => images),
    notices: results.flatMap(({ notices }) => notices),
    warnings: results.flatMap(({ warnings }) => warnings),
  };
}

/**
 * Returns every tag of the repository, once. An invalid tag is refused: its name could not be used or
 * removed.
 */
async function tagged(source: PullSource & TagSource, signal: AbortSignal | undefined): Promise<Reference[]> {
  const { repository } = source;
  const found = new Map<string, Reference>();
  const fail = (code: ErrorCode, what: string): never => {
    throw new LayerstackError(code, `tags of ${repository}: the registry lists ${what}; pull single tags`, {
      repository,
    });
  };
  for await (const tag of source.tags({ signal })) {
    if (!isTag(tag)) fail('ERR_REGISTRY_INVALID', `${JSON.stringify(tag.slice(0, 100))}, which is not a tag`);
    if (found.size === MAX_TAGS && !found.has(tag))
      fail('ERR_LIMIT_EXCEEDED', `more than ${String(MAX_TAGS)} of them`);
    found.set(tag, { repository, tag });
  }
  return [...found.values()];
}

function checkOptions(
  reference: Reference,
  { allTags, platform, maxConcurrentDownloads = 1 }: PullOptions,
): void {
  if (platform !== undefined) parseKnownPlatform(platform);
  if (allTags === true && (reference.tag ?? reference.digest) !== undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${formatReference(reference)}: to pull all tags, give the name without a tag`,
      { reference: formatReference(reference) },
    );
  if (!Number.isSafeInteger(maxConcurrentDownloads) || maxConcurrentDownloads < 1)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `maxConcurrentDownloads must be at least 1, not ${String(maxConcurrentDownloads)}`,
      { found: maxConcurrentDownloads },
    );
}
