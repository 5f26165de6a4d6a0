/** Pulls the image of `run` before the container is made, by docker's `--pull`. */
import { LayerstackError } from '../../core/errors.ts';
import type { Layerstack } from '../layerstack.ts';
import { UsageError, type Context } from './command.ts';
import { PULL_WORDS } from './pull-words.ts';
import { RegistryDisplay } from './registry-display.ts';

export const PULL_POLICIES = ['missing', 'always', 'never'] as const;

type Pulling = (store: Layerstack, image: string, signal: AbortSignal) => Promise<void>;

interface PullValues {
  readonly pull: string | undefined;
  readonly quiet: boolean | undefined;
  readonly platform: string | undefined;
}

/**
 * Returns a function that pulls the image. The progress goes to stderr, as with docker.
 * @throws UsageError for an unknown policy.
 */
export function missingImage(
  context: Pick<Context, 'stderr'>,
  { pull: policy = 'missing', quiet = false, platform }: PullValues,
): Pulling {
  if (!PULL_POLICIES.some((known) => known === policy))
    throw new UsageError(`--pull ${JSON.stringify(policy)} is unknown: use ${PULL_POLICIES.join(', ')}`);
  const { stderr } = context;
  const print = (...lines: string[]): void => stderr.print(...lines);
  return async (store, image, signal) => {
    if (policy === 'never' || (policy === 'missing' && (await hasImage(store, image)))) return;
    if (policy === 'missing' && !quiet) print(`The store does not have the image ${image}: it is pulled`);
    const display = new RegistryDisplay({ print, stderr }, PULL_WORDS, { json: false, quiet });
    try {
      await store.registry.pull(image, { platform, signal, onProgress: display.show });
    } finally {
      display.end();
    }
  };
}

async function hasImage(store: Layerstack, image: string): Promise<boolean> {
  try {
    await store.images.inspect(image);
    return true;
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_IMAGE_NOT_FOUND')) return false;
    throw error;
  }
}
