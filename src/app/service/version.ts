/**
 * Versions of the Docker Engine API. Requests may name one (`/v1.41/images/json`), and get the answers that dockerd
 * gave in it; without one they mean the newest. Which answers differ is in the API's version history
 * (moby/moby: docs/api/version-history.md).
 */

/** The newest: docker 28's. */
export const API_VERSION = '1.51';
/**
 * The oldest that is let in: what skopeo (containers/image) asks for by default. docker 28 begins at 1.24; what is asked for
 * below that is answered as in 1.24.
 */
export const MIN_API_VERSION = '1.22';

/** Negative where `a` is older than `b`, 0 where they are the same. Parts that are missing count as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  for (let at = 0; at < Math.max(left?.length ?? 0, right?.length ?? 0); at++) {
    const difference = (left?.[at] ?? 0) - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
