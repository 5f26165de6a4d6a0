/** Keeps pages and citations whole: links lead to files and headings, and named source files exist. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const home = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(home, path), 'utf8');

const FOLDERS = ['bench', 'docs', 'examples', 'native', 'packaging', 'src', 'test'];
const files = [
  ...readdirSync(home).filter((name) => name.endsWith('.md')),
  ...FOLDERS.flatMap((folder) =>
    readdirSync(join(home, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => !path.includes('node_modules'))
      .map((path) => join(folder, path)),
  ),
];
const pages = files.filter((path) => /^(?:docs\/[^/]+|[A-Z]+)\.md$/.test(path));
const sources = files.filter((path) =>
  /^(?:src|native|test|bench|packaging|examples)\/.*\.(?:ts|js|cc|h)$/.test(path),
);

const withoutBlocks = (text: string): string => text.replace(/^```[\s\S]*?^```/gm, '');

function headings(page: string): string[] {
  return [...withoutBlocks(read(page)).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
}

/** Returns the anchor that a heading has on the web. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');
}

describe('links', () => {
  it.each(pages)('of %s lead to files and headings', (page) => {
    const links = [...withoutBlocks(read(page)).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)];
    for (const [link, path = '', anchor] of links) {
      const target = path === '' ? page : normalize(join(dirname(page), path));
      expect(existsSync(join(home, target)), `${page}: ${link}`).toBe(true);
      if (anchor !== undefined) expect(headings(target).map(anchorOf), `${page}: ${link}`).toContain(anchor);
    }
  });
});

describe('citations', () => {
  it.each(sources.filter((path) => read(path).includes('docs/')))(
    'of %s name pages and headings',
    (source) => {
      // Over the ends of lines of a comment.
      const text = read(source).replace(/\n\s*(?:\/\/|\*)\s?/g, ' ');
      for (const [citation, page = '', name] of text.matchAll(
        /(?<![\w/-])(docs\/[\w-]+\.md)(?:, "([^"]+)")?/g,
      )) {
        expect(existsSync(join(home, page)), citation).toBe(true);
        // The sections of the format have numbers, which citations leave out.
        const names = headings(page).map((heading) => heading.replace(/^\d+\. /, ''));
        if (name !== undefined) expect(names, citation).toContain(name);
      }
    },
  );
});

describe('source files', () => {
  const known = new Set(files.flatMap((path) => [path, path.replace(/\.(?:ts|cc|h)$/, '')]));

  // The changelog may name what is gone.
  it.each(pages.filter((page) => page !== 'CHANGELOG.md'))('that %s names exist', (page) => {
    const text = withoutBlocks(read(page));
    const missing = [
      ...[...text.matchAll(/`((?:[\w-]+\/)+[\w.-]+\.(?:ts|js|cc|h))`/g)]
        .map(([, path = '']) => path)
        .filter((path) => !files.some((file) => file === path || file.endsWith(`/${path}`))),
      ...[...text.matchAll(/`((?:src|native|test|packaging)\/[\w./-]+?)\/?`/g)]
        .map(([, path = '']) => path)
        .filter((path) => !known.has(path)),
    ];
    expect(missing).toEqual([]);
  });

  /** Files of the kernel, and the patterns of generated files. */
  const ELSEWHERE = /^(?:fs|include|linux)\/|[A-Z]{2}/;
  const named = (words: string): string[] => [
    ...[...words.matchAll(/(?<![\w./<-])((?:[\w.-]+\/)+[\w.-]+\.(?:ts|js|mjs|cc|h|c))(?![\w/(-])/g)]
      .map(([, path = '']) => path.replace(/^(?:\.{1,2}\/)+/, ''))
      .filter((path) => !ELSEWHERE.test(path))
      .filter((path) => !files.some((file) => file === path || file.endsWith(`/${path}`))),
    // Comments name files of the native core without their extension.
    ...[...words.matchAll(/(?<![\w./<-])((?:sys|codec|format|tree|pipeline|erofs|napi)\/\w+)(?![\w./(-])/g)]
      .map(([, path = '']) => path)
      .filter((path) => !known.has(`native/${path}`)),
  ];

  it.each(FOLDERS.filter((folder) => folder !== 'docs'))('that comments of %s name exist', (folder) => {
    const comments = sources
      .filter((path) => path.startsWith(`${folder}/`))
      .flatMap((path) =>
        read(path)
          .split('\n')
          .map((line, index) => ({ place: `${path}:${String(index + 1)}`, line })),
      )
      .filter(({ line }) => /^\s*(?:\/\/|\/?\*)/.test(line));
    const missing = comments.flatMap(({ place, line }) => named(line).map((path) => `${place} ${path}`));
    expect(missing).toEqual([]);
  });
});
