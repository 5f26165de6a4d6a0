/**
 * Makes URLs safe to show. Storage services sign URLs, registries put upload state into them, and people
 * write passwords into proxies' URLs. So only the query parameters of the registry protocol keep their
 * values, and the userinfo is removed.
 */

const SHOWN = new Set(['digest', 'mount', 'from', 'n', 'last', 'artifactType', 'service', 'scope']);

/** Returns the URL without possible secrets, for messages and logs. */
export function redactUrl(url: URL | string): string {
  let copy: URL;
  try {
    copy = new URL(url);
  } catch {
    return 'a malformed URL';
  }
  copy.username = '';
  copy.password = '';
  copy.hash = '';
  for (const name of [...copy.searchParams.keys()])
    if (!SHOWN.has(name)) copy.searchParams.set(name, 'REDACTED');
  return copy.href;
}
