/**
 * Where the file runs that this is in: of the sources, of what tsc makes of them, of dist, or of a program
 * that a bundler has put layerstack into.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Its URL. */
export const HERE: string = (import.meta.url as string | undefined) ?? pathToFileURL(script()).href;

/** Loads CommonJS modules and addons, and whatever shall be loaded late. */
export const require: NodeJS.Require = createRequire(HERE);

/**
 * Bundlers empty `import.meta` where they make CommonJS of ES modules, and leave out `__filename` the other
 * way round.
 */
function script(): string {
  return typeof __filename === 'string' ? __filename : (process.argv[1] ?? process.execPath);
}
