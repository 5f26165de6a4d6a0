/**
 * Joins what tsc has compiled into a few files, `dist/bundle`: what package.json gives to importers and to the shell. Node takes
 * about a millisecond for each module that it resolves, reads and links, and a command would load a hundred of them: more time
 * than most commands work. What is imported only when it is needed (registries, the service) stays apart.
 */
import { fileURLToPath, URL } from 'node:url';
import { rolldown } from 'rolldown';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
/** Node's own modules, and the dependencies. */
const EXTERNAL = /^[^./]/;
/** What most commands go through; `--version`, help and mistakes need the first only. */
const PARTS = [
  ['core', ['app/cli/main.js', 'app/cli/format.js', 'app/cli/output.js', 'app/cli/filters.js']],
  // With the service's preload: Node knows what is imported by who imports it, so it must be imported from the same file.
  ['store', ['app/layerstack.js', 'app/service/preload.js']],
];

const bundle = await rolldown({
  input: { index: `${DIST}index.js`, main: `${DIST}app/cli/main.js` },
  external: EXTERNAL,
  platform: 'node',
});

/** The modules that Node loads with `paths`, whatever is called; but the entry points, which run when they are loaded. */
function loadedWith(paths, modules) {
  const found = new Set(paths.map((path) => DIST + path));
  for (const id of found)
    for (const imported of modules.getModuleInfo(id)?.importedIds ?? []) found.add(imported);
  return [...found].filter((id) => modules.getModuleInfo(id)?.isEntry === false);
}

const parts = new Map();
/** The part that a module belongs to: the first that loads it. */
function partOf(id, modules) {
  if (parts.size === 0)
    for (const [name, paths] of PARTS)
      for (const loaded of loadedWith(paths, modules)) if (!parts.has(loaded)) parts.set(loaded, name);
  return parts.get(id) ?? null;
}

const { output } = await bundle.write({
  dir: `${DIST}bundle`,
  chunkFileNames: '[name]-[hash].js',
  codeSplitting: { groups: [{ name: partOf, debugName: 'parts' }] },
  // With its names and lines: Node prints the line that an error came from.
  minify: false,
  comments: false,
});
await bundle.close();

// rolldown passes over an import that leads nowhere where it stands in a `try`.
const files = new Set(output.map(({ fileName }) => fileName));
for (const { fileName, imports, dynamicImports } of output)
  for (const imported of [...imports, ...dynamicImports])
    if (!files.has(imported) && !EXTERNAL.test(imported))
      throw new Error(`${fileName} imports ${imported}, which is nowhere`);
