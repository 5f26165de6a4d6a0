/** Which layerstack this is. */
import { readFileSync } from 'node:fs';

let version: string | undefined;

/** The version in package.json as it was when first asked: an upgrade replaces that file under a running service. */
export function packageVersion(): string {
  version ??= (
    JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
  ).version;
  return version;
}
