/**
 * Keeps the folders of src and native in their order, files free of import cycles, and the native core free
 * of Node.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it, onTestFinished } from 'vitest';

/**
 * The folders of src, by rank. A folder imports from itself and from lower ranks, not from others of its own
 * rank. Files directly in src import from any.
 */
const RANKS = [
  ['core'],
  ['system'],
  ['layer'],
  ['rwlayer', 'image'],
  ['dockerfile'],
  ['container'],
  ['snapshot'],
  ['transfer'],
  ['packed'],
  ['build'],
  ['app'],
];
/** A folder of native includes from itself and from those before it. Only the last one knows Node. */
const NATIVE_FOLDERS = ['sys', 'codec', 'format', 'tree', 'pipeline', 'erofs', 'napi'];
/** Folders of native that include nothing of the project: what the linker needs. */
const NATIVE_ALONE = ['glibc'];
const NODE_HEADER = /^\s*#\s*include\s*[<"](?:napi(?:-inl)?|node_api|node|uv|v8)(?:\.h)?[>"]/m;
const OWN_HEADER = /^\s*#\s*include\s*"([^"]*)"/gm;

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
    if (each !== undefined && rankOf(each) < 0) return [`${each} is not a known folder of src`];
  }
  if (own === undefined) return [];
  if (other === undefined) return [`${from} imports ${to}, the public door`];
  return own === other || rankOf(other) < rankOf(own)
    ? []
    : [`${from} imports ${to}: ${own} must not know ${other}`];
}

/** Returns -1 where it is not a folder of src. */
function rankOf(folder: string): number {
  return RANKS.findIndex((rank) => rank.includes(folder));
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

/** Every include of the tree `native` that breaks a rule, as a sentence. */
async function nativeFaults(native: string): Promise<string[]> {
  const faults: string[] = [];
  for (const path of await filesBelow(native, /\.(?:cc|h)$/)) {
    const name = relative(native, path);
    const text = await readFile(path, 'utf8');
    const own = name.split('/')[0] ?? '';
    if (NATIVE_ALONE.includes(own)) continue;
    if (!NATIVE_FOLDERS.includes(own)) {
      faults.push(`${name} is in no known folder of native`);
      continue;
    }
    const node = own === NATIVE_FOLDERS.at(-1) ? undefined : NODE_HEADER.exec(text)?.[0];
    if (node !== undefined) faults.push(`${name}: ${node.trim()}`);
    for (const [, header = ''] of text.matchAll(OWN_HEADER)) {
      const other = header.split('/')[0] ?? '';
      if (other !== own && !NATIVE_FOLDERS.slice(0, NATIVE_FOLDERS.indexOf(own)).includes(other)) {
        faults.push(`${name} includes ${header}: ${own} must not know ${other}`);
      }
    }
  }
  return faults;
}

describe('the source', () => {
  it('imports only from folders of lower ranks, without cycles', async () => {
    expect(await filesBelow(join(home, 'src'), /\.ts$/)).not.toEqual([]);
    expect(await importFaults(join(home, 'src'))).toEqual([]);
  });

  it('includes only from folders of native to the left, and Node in the last one only', async () => {
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

  it('accepts arrows to lower ranks and within a folder', async () => {
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

  it('finds arrows between folders of one rank', async () => {
    const root = await tree({
      'image/a.ts': `import '../rwlayer/b.ts'; import '../layer/c.ts';`,
      'rwlayer/b.ts': `import type { D } from '../image/d.ts';`,
      'image/d.ts': '',
      'layer/c.ts': '',
    });
    expect(await importFaults(root)).toEqual([
      'image/a.ts imports rwlayer/b.ts: image must not know rwlayer',
      'rwlayer/b.ts imports image/d.ts: rwlayer must not know image',
    ]);
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
      'util is not a known folder of src',
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
      'napi/a.h': '#include <napi.h>',
      'sys/a.cc': '// #include <napi.h>\n#include "sys/fd.h"\n#include <unistd.h>',
      'sys/b.cc': '#include <vector>\n#include <napi.h>',
      'tree/c.h': '#  include <node_api.h>',
    });
    expect(await nativeFaults(root)).toEqual([
      'sys/b.cc: #include <napi.h>',
      'tree/c.h: #  include <node_api.h>',
    ]);
  });

  it('finds includes that go to the right, and files in unknown folders of native', async () => {
    const root = await tree({
      'codec/a.cc': '#include "codec/a.h"\n#include "sys/a.h"\n#include <sys/stat.h>',
      'codec/b.h': '#include <string>\n# include "format/tar.h"',
      'glibc/floor.cc': '#include <fcntl.h>',
      'pipeline/c.cc': '#include "erofs/d.h"\n#include "util/e.h"',
      'tree/d.cc': '#include "napi/async.h"\n// #include "napi/args.h"',
      'addon.cc': '',
      'util/e.h': '',
    });
    expect(await nativeFaults(root)).toEqual([
      'addon.cc is in no known folder of native',
      'codec/b.h includes format/tar.h: codec must not know format',
      'pipeline/c.cc includes erofs/d.h: pipeline must not know erofs',
      'pipeline/c.cc includes util/e.h: pipeline must not know util',
      'tree/d.cc includes napi/async.h: tree must not know napi',
      'util/e.h is in no known folder of native',
    ]);
  });
});
