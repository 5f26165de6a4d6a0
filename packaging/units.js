/**
 * `node packaging/units.js FOLDER…` writes one source for each of these folders of native/,
 * `build/units/FOLDER.cc`, which includes all sources of the folder. It prints the names of these files for
 * binding.gyp. Headers that the sources share are read once, which halves the work of the compiler. So names
 * in the unnamed namespaces of a folder must differ.
 */
import console from 'node:console';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, URL } from 'node:url';

const NATIVE = fileURLToPath(new URL('../native/', import.meta.url));
const UNITS = 'build/units/';

mkdirSync(UNITS, { recursive: true });
for (const folder of process.argv.slice(2)) {
  const sources = readdirSync(NATIVE + folder).filter((name) => name.endsWith('.cc'));
  const text = sources.sort().map((name) => `#include "${folder}/${name}"\n`);
  writeChanged(`${UNITS}${folder}.cc`, text.join(''));
  console.log(`${UNITS}${folder}.cc`);
}

/** An unchanged file is not written, and so not compiled again. */
function writeChanged(path, text) {
  try {
    if (readFileSync(path, 'utf8') === text) return;
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  writeFileSync(path, text);
}
