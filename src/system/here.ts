/**
 * The file that this code runs from: a source, the output of tsc, a bundle in dist, or a program that a
 * bundler has put layerstack into.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Its URL. */
export const HERE: string = (import.meta.url as string | undefined) ?? pathToFileURL(script()).href;

/** Loads CommonJS modules, addons, and modules that are loaded when they are first needed. */
export const require: NodeJS.Require = createRequire(HERE);

/**
 * Bundlers empty `import.meta` where they turn ES modules into CommonJS. They leave out `__filename` where
 * they turn CommonJS into ES modules.
 */
function script(): string {
  return typeof __filename === 'string' ? __filename : (process.argv[1] ?? process.execPath);
}
