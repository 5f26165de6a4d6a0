/** Keeps the folders of src in their order, files free of import cycles, and the native core free of Node. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';

/** A folder imports from itself and from those before it. Files directly in src import from any. */
const FOLDERS = ['core', 'system', 'layer', 'image', 'dockerfile', 'container', 'transfer', 'app'];
/** Folders below native that must build without Node. */
const WITHOUT_NODE = ['sys', 'tree', 'codec', 'erofs'];
const NODE_HEADER = /^\s*#\s*include\s*[<"](?:napi(?:-inl)?|node_api|node|uv|v8|napi\/[^">]*)(?:\.h)?[>"]/m;

const home = fileURLToPath(new URL('../..', import.meta.url));

async function filesBelow(directory: string, pattern: RegExp): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** What a file imports from files of the project: statically, dynamically, for types and by re-export. */
function importsOf(path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const named =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined;
    if (named && ts.isStringLiteralLike(named)) found.push(named.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found.filter((name) => name.startsWith('.')).map((name) => resolve(dirname(path), name));
}

/** Every import of the tree `src` that breaks a rule, as a sentence. */
async function importFaults(src: string): Promise<string[]> {
  const faults: string[] = [];
  const graph = new Map<string, string[]>();
  for (const path of await filesBelow(src, /\.ts$/)) {
    const name = relative(src, path);
    const imports = importsOf(path, await readFile(path, 'utf8')).map((target) => relative(src, target));
    graph.set(name, imports);
    for (const target of imports) faults.push(...arrowFaults(name, target));
  }
  return [...faults, ...cycles(graph)];
}

function arrowFaults(from: string, to: string): string[] {
  if (to.startsWith('..')) return [`${from} imports ${to}, which is outside src`];
  const folder = (name: string): string | undefined => (name.includes('/') ? name.split('/')[0] : undefined);
  const [own, other] = [folder(from), folder(to)];
  for (const each of [own, other]) {
    if (each !== undefined && !FOLDERS.includes(each)) return [`${each} is no known folder of src`];
  }
  if (own === undefined) return [];
  if (other === undefined) return [`${from} imports ${to}, the public door`];
  return FOLDERS.indexOf(other) > FOLDERS.indexOf(own)
    ? [`${from} imports ${to}: ${own} must not know ${other}`]
    : [];
}

/** Each cycle once, as the path around it. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const faults: string[] = [];
  const walk = (name: string, path: readonly string[]): void => {
    const start = path.indexOf(name);
    if (start >= 0) faults.push(`import cycle: ${[...path.slice(start), name].join(' -> ')}`);
    if (start >= 0 || done.has(name)) return;
    for (const next of graph.get(name) ?? []) walk(next, [...path, name]);
    done.add(name);
  };
  for (const name of graph.keys()) walk(name, []);
  return faults;
}

/** Every file of the native core that includes a header of Node. */
async function nativeFaults(native: string): Promise<string[]> {
  const faults: string[] = [];
  for (const path of await filesBelow(native, /\.(?:cc|h)$/)) {
    const name = relative(native, path);
    if (!WITHOUT_NODE.includes(name.split('/')[0] ?? '')) continue;
    const include = NODE_HEADER.exec(await readFile(path, 'utf8'))?.[0];
    if (include !== undefined) faults.push(`${name}: ${include.trim()}`);
  }
  return faults;
}

describe('the source', () => {
  it('imports only from folders to the left, without cycles', async () => {
    expect(await filesBelow(join(home, 'src'), /\.ts$/)).not.toEqual([]);
    expect(await importFaults(join(home, 'src'))).toEqual([]);
  });

  it('keeps Node out of the native core', async () => {
    expect(await filesBelow(join(home, 'native/sys'), /\.h$/)).not.toEqual([]);
    expect(await nativeFaults(join(home, 'native'))).toEqual([]);
  });
});

describe('the check itself', () => {
  async function tree(files: Readonly<Record<string, string>>): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), 'layerstack-architecture-'));
    onTestFinished(() => rm(root, { recursive: true }));
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), text);
    }
    return root;
  }

  it('accepts arrows to the left and between siblings', async () => {
    const root = await tree({
      'index.ts': `export * from './app/a.ts';`,
      'app/a.ts': `import { b } from '../core/b.ts'; import fs from 'node:fs'; import ts from 'typescript';`,
      'core/b.ts': `import type { C } from './c.ts'; // import '../app/a.ts'`,
      'core/c.ts': `const text = "import '../app/a.ts'";`,
    });
    expect(await importFaults(root)).toEqual([]);
  });

  it.each([
    ['an import', `import { a } from '../layer/a.ts';`],
    ['a side effect', `import '../layer/a.ts';`],
    ['a type import', `import type { A } from '../layer/a.ts';`],
    ['a type in place', `let a: import('../layer/a.ts').A;`],
    ['a re-export', `export { a } from '../layer/a.ts';`],
    ['a dynamic import', 'async () => await import(`../layer/a.ts`);'],
    ['an import over several lines', `import {\n  a,\n} from\n  '../layer/a.ts';`],
  ])('finds a wrong arrow: %s', async (_, text) => {
    const root = await tree({ 'core/x.ts': text, 'layer/a.ts': '' });
    expect(await importFaults(root)).toEqual(['core/x.ts imports layer/a.ts: core must not know layer']);
  });

  it('finds imports of the public door, of unknown folders and from outside', async () => {
    const root = await tree({
      'index.ts': '',
      'core/a.ts': `import '../index.ts';`,
      'core/b.ts': `import '../util/x.ts';`,
      'core/c.ts': `import '../../test/x.ts';`,
      'util/x.ts': '',
    });
    expect(await importFaults(root)).toEqual([
      'core/a.ts imports index.ts, the public door',
      'util is no known folder of src',
      'core/c.ts imports ../test/x.ts, which is outside src',
    ]);
  });

  it('finds cycles, of any length', async () => {
    const root = await tree({
      'core/a.ts': `import './b.ts';`,
      'core/b.ts': `import './c.ts';`,
      'core/c.ts': `import './a.ts';`,
      'core/d.ts': `import './d.ts';`,
    });
    expect(await importFaults(root)).toEqual([
      'import cycle: core/a.ts -> core/b.ts -> core/c.ts -> core/a.ts',
      'import cycle: core/d.ts -> core/d.ts',
    ]);
  });

  it('finds headers of Node in the native core only', async () => {
    const root = await tree({
      'addon.cc': '#include <napi.h>',
      'napi/a.h': '#include <napi.h>',
      'sys/a.cc': '// #include <napi.h>\n#include "sys/fd.h"\n#include <unistd.h>',
      'sys/b.cc': '#include <vector>\n#include <napi.h>',
      'tree/c.h': '#  include "node_api.h"',
      'codec/d.cc': '#include "napi/async.h"',
    });
    expect(await nativeFaults(root)).toEqual([
      'codec/d.cc: #include "napi/async.h"',
      'sys/b.cc: #include <napi.h>',
      'tree/c.h: #  include "node_api.h"',
    ]);
  });
});
