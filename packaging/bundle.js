/**
 * Joins the output of tsc into a few files: `dist/bundle`, the ES modules that package.json gives to
 * importers and to the shell, and `dist/cjs`, the files for `require`, with their types. Node takes about a
 * millisecond to resolve, read and link each module. A command would load a hundred of them: that takes
 * longer than the work of most commands. Modules that are imported only when they are needed (registries, the
 * service) stay apart.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { rolldown } from 'rolldown';

const { version: VERSION } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
/** Node's own modules, and the dependencies. */
const EXTERNAL = /^[^./]/;
/** The parts that most commands load; `--version`, help and mistakes need the first one only. */
const PARTS = [
  ['core', ['app/cli/main.js', 'app/cli/format.js', 'app/cli/output.js', 'app/cli/filters.js']],
  // Together with the service's preload: Node identifies an imported module by its importer, so both must
  // import it from the same file.
  ['store', ['app/layerstack.js', 'app/service/preload.js']],
];

await join(
  { index: `${DIST}index.js`, main: `${DIST}app/cli/main.js` },
  { dir: `${DIST}bundle`, codeSplitting: { groups: [{ name: partsOf(PARTS), debugName: 'parts' }] } },
);
await join(
  { index: `${DIST}index.js` },
  // Jest does not give CommonJS an `import()`.
  { dir: `${DIST}cjs`, format: 'cjs', dynamicImportInCjs: false },
  // system/here.ts finds the file itself; rolldown would put __filename there.
  { 'import.meta.url': 'undefined' },
);
writeFileSync(`${DIST}cjs/package.json`, '{ "type": "commonjs" }\n');
copyTypes(`${DIST}index.d.ts`, new Set());

async function join(input, options, constants = {}) {
  const define = { LAYERSTACK_VERSION: JSON.stringify(VERSION), ...constants };
  const bundle = await rolldown({ input, external: EXTERNAL, platform: 'node', transform: { define } });
  const { output } = await bundle.write({
    chunkFileNames: '[name]-[hash].js',
    // Keep names and lines: Node prints the line that an error came from.
    minify: false,
    comments: false,
    ...options,
  });
  await bundle.close();
  // rolldown ignores an import of a missing file inside a `try`.
  const files = new Set(output.map(({ fileName }) => fileName));
  for (const { fileName, imports, dynamicImports } of output)
    for (const imported of [...imports, ...dynamicImports])
      if (!files.has(imported) && !EXTERNAL.test(imported))
        throw new Error(`${fileName} imports ${imported}, which does not exist`);
}

/** Returns the part that a module belongs to: the first one that loads it. */
function partsOf(parts) {
  const found = new Map();
  return (id, modules) => {
    if (found.size === 0)
      for (const [name, paths] of parts)
        for (const loaded of loadedWith(paths, modules)) if (!found.has(loaded)) found.set(loaded, name);
    return found.get(id) ?? null;
  };
}

/**
 * Returns the modules that Node loads with `paths`, whatever is called. Leaves out the entry points, which
 * run when they are loaded.
 */
function loadedWith(paths, modules) {
  const found = new Set(paths.map((path) => DIST + path));
  for (const id of found)
    for (const imported of modules.getModuleInfo(id)?.importedIds ?? []) found.add(imported);
  return [...found].filter((id) => modules.getModuleInfo(id)?.isEntry === false);
}

/**
 * Copies a declaration file and all its imports to dist/cjs, where TypeScript takes them for declarations of
 * CommonJS.
 */
function copyTypes(path, copied) {
  if (copied.has(path)) return;
  copied.add(path);
  const target = `${DIST}cjs/${path.slice(DIST.length)}`;
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(path, target);
  for (const [, imported] of readFileSync(path, 'utf8').matchAll(
    /(?:from |import |import\()'(\.[^']+)\.ts'/g,
  ))
    copyTypes(fileURLToPath(new URL(`${imported}.d.ts`, `file://${path}`)), copied);
}
