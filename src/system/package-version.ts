/** Which layerstack this is. */
import { readFileSync } from 'node:fs';
import { HERE } from './here.ts';

/** Put in by packaging/bundle.js, since a bundler may take it out of its package; what runs from its sources has none. */
declare const LAYERSTACK_VERSION: string | undefined;

let version = typeof LAYERSTACK_VERSION === 'string' ? LAYERSTACK_VERSION : undefined;

/** The version in package.json. */
export function packageVersion(): string {
  version ??= (JSON.parse(readFileSync(new URL('../../package.json', HERE), 'utf8')) as { version: string })
    .version;
  return version;
}
