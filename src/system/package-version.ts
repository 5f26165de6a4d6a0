/** The version of layerstack. */
import { readFileSync } from 'node:fs';
import { HERE } from './here.ts';

/**
 * packaging/bundle.js sets it, because a bundler may separate it from package.json. It is undefined in the
 * sources.
 */
declare const LAYERSTACK_VERSION: string | undefined;

let version = typeof LAYERSTACK_VERSION === 'string' ? LAYERSTACK_VERSION : undefined;

/** Returns the version in package.json. */
export function packageVersion(): string {
  version ??= (JSON.parse(readFileSync(new URL('../../package.json', HERE), 'utf8')) as { version: string })
    .version;
  return version;
}
