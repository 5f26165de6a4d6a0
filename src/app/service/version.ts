/**
 * Versions of the Docker Engine API. Requests may name one (`/v1.41/images/json`) and get the answers that
 * dockerd gave in it; without one they get the newest. The API's version history lists the differences
 * (moby/moby: docs/api/version-history.md).
 */

/** The newest version: docker 28's. */
export const API_VERSION = '1.51';
/**
 * The oldest version that is accepted: the default of skopeo (containers/image). docker 28 begins at 1.24;
 * requests for older versions get the answers of 1.24.
 */
export const MIN_API_VERSION = '1.22';

/** Negative if `a` is older than `b`, 0 if they are equal. Missing parts count as 0. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number));
  for (let at = 0; at < Math.max(left?.length ?? 0, right?.length ?? 0); at++) {
    const difference = (left?.[at] ?? 0) - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
