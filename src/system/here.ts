/**
 * Where the file runs that this is in: of the sources, of what tsc makes of them, of dist, or of a program that a bundler has put
 * layerstack into.
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** Bundlers that make CommonJS of ES modules leave `import.meta` empty. */
const url = import.meta.url as string | undefined;

export const HERE: string = url ?? pathToFileURL(__filename).href;

/** For what is no ES module, or is to be loaded late. */
export const require: NodeJS.Require = createRequire(HERE);
