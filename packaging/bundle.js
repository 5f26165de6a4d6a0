/**
 * Joins what tsc has compiled into a few files, `dist/bundle`: what package.json gives to importers and to the shell. Node takes
 * about a millisecond for each module that it resolves, reads and links, and a command would load a hundred of them: more time
 * than most commands work. What is imported only when it is needed (registries, the service) stays apart.
 */
import { fileURLToPath, URL } from 'node:url';
import { rolldown } from 'rolldown';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
/** The folders of src/ that most commands go through; `--version` and mistakes need the first only. */
const FOLDERS = [
  ['core', /^core\//],
  ['store', /^(system|image|layer|container)\//],
];

const bundle = await rolldown({
  input: { index: `${DIST}index.js`, main: `${DIST}app/cli/main.js` },
  external: /^[^./]/, // Node's own modules, and the dependencies
  platform: 'node',
});
/** A module that nobody imports but when it is needed is not loaded with the others. */
const fileOf = (id, modules) =>
  modules.getModuleInfo(id).importers.length === 0
    ? null
    : (FOLDERS.find(([, folders]) => folders.test(id.slice(DIST.length)))?.[0] ?? null);

await bundle.write({
  dir: `${DIST}bundle`,
  chunkFileNames: '[name]-[hash].js',
  codeSplitting: { groups: [{ name: fileOf, debugName: 'folders' }] },
  // With its names and lines: Node prints the line that an error came from.
  minify: false,
  comments: false,
});
await bundle.close();
