/**
 * `npm run prebuild` builds the addon for common machines,
 * `prebuilds/linux-{x64,arm64}/layerstack.glibc.node`. The addon includes the C++ library, and runs with
 * glibc 2.28 (RHEL 8, Debian 10) or later. The addon of the other processor is built if a cross compiler for
 * it is installed. Each is built in a directory of its own, `build/prebuild/linux-*`.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath, URL } from 'node:url';

const HOME = fileURLToPath(new URL('../', import.meta.url));
const GLIBC = [2, 28];
/** Debian's names of the compilers, by Node's names of processors. */
const TRIPLES = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
/** readelf's names of kinds of symbols, and the names of the assembler for them. */
const TYPES = { FUNC: 'function', IFUNC: 'function', OBJECT: 'object', TLS: 'tls_object' };
/** The files that node-gyp builds from. */
const SOURCES = ['binding.gyp', 'native', 'node_modules', 'package.json', 'packaging'];

for (const [arch, triple] of Object.entries(TRIPLES)) {
  const own = arch === process.arch;
  const tools = { CC: own ? 'gcc' : `${triple}-gcc`, CXX: own ? 'g++' : `${triple}-g++` };
  if (own || isThere(tools.CXX)) prebuild(arch, tools);
  else
    console.log(
      `no ${tools.CXX}: not prebuilt for linux-${arch} (apt install g++-${triple.replace('_', '-')})`,
    );
}

function isThere(program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function prebuild(arch, tools) {
  const directory = `${HOME}build/prebuild/linux-${arch}/`;
  mkdirSync(directory, { recursive: true });
  for (const name of SOURCES) {
    rmSync(directory + name, { force: true });
    symlinkSync(HOME + name, directory + name);
  }
  const libraries = `${directory}glibc/`;
  mkdirSync(libraries, { recursive: true });
  makeLibc(tools.CC, libraries);
  const gyp = [
    'configure',
    'build',
    `--arch=${arch}`,
    '--jobs=max',
    '--loglevel=warn',
    // The path as make finds it: make does not take a space in a name.
    '--old_glibc=../glibc',
  ];
  execFileSync(`${HOME}node_modules/.bin/node-gyp`, gyp, {
    cwd: directory,
    env: { ...process.env, ...tools },
    stdio: 'inherit',
  });
  const target = `${HOME}prebuilds/linux-${arch}/`;
  mkdirSync(target, { recursive: true });
  copyFileSync(`${directory}build/Release/layerstack.node`, `${target}layerstack.glibc.node`);
}

/**
 * Makes a `libc.so` to link with. It has the names of the compiler's own C library in their newest versions
 * up to {@link GLIBC}, and no code. So the linked addon asks for no newer versions, and neither does its part
 * of libstdc++.
 */
function makeLibc(compiler, directory) {
  const library = execFileSync(compiler, ['-print-file-name=libc.so.6'], { encoding: 'utf8' }).trim();
  const symbols = oldSymbols(library);
  const lines = [...symbols].map(
    ([name, { version, type }], index) =>
      `.globl stub${index}\n.type stub${index}, %${type}\nstub${index}: .symver stub${index}, ${name}@@${version}\n`,
  );
  writeFileSync(`${directory}libc.s`, `.text\n${lines.join('')}`);
  const versions = new Set([...symbols.values()].map(({ version }) => version));
  writeFileSync(`${directory}libc.map`, [...versions].map((version) => `${version} {};\n`).join(''));
  const options = [
    '-shared',
    '-nostdlib',
    '-Wl,-soname=libc.so.6',
    `-Wl,--version-script=${directory}libc.map`,
  ];
  execFileSync(compiler, [...options, '-o', `${directory}libc.so`, `${directory}libc.s`]);
}

/** Returns the names of a C library, each with its newest version that is old enough. */
function oldSymbols(library) {
  const table = execFileSync('readelf', ['--dyn-syms', '--wide', library], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const symbols = new Map();
  const row =
    /^\s*\d+:\s+(?!0+ )\S+\s+\d+\s+(?<kind>FUNC|IFUNC|OBJECT|TLS)\s+(?:GLOBAL|WEAK)\s+DEFAULT\s+(?!UND)\S+\s+(?<name>[^@\s]+)@@?(?<version>GLIBC_(?<numbers>[\d.]+))$/gm;
  for (const { groups } of table.matchAll(row)) {
    const { name, version, kind } = groups;
    const numbers = groups.numbers.split('.').map(Number);
    if (compare(numbers, GLIBC) > 0 || compare(numbers, symbols.get(name)?.numbers ?? []) < 0) continue;
    symbols.set(name, { version, numbers, type: TYPES[kind] });
  }
  return symbols;
}

/** Compares versions as lists of numbers: 2.2.5 is older than 2.28. */
function compare(one, other) {
  const index = one.findIndex((number, at) => number !== other[at]);
  return index < 0 ? one.length - other.length : one[index] - (other[index] ?? -1);
}
