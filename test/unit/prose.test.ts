/**
 * Keeps comments, pages, messages and help readable: a width for comments, and phrases that readers stumble
 * on.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const WIDTH = 110;

/** What not to write, and what to write in its place (CONTRIBUTING.md, "English"). */
const BANNED: readonly (readonly [RegExp, string])[] = [
  [
    /\b(?:(?:is|are|was|were) no (?!longer\b|more than\b)|mounts no\b)/i,
    'say "is not a ...", "does not exist" or "cannot mount"',
  ],
  [/\bgone on with\b/i, 'say "is resumed" or "continues"'],
  [/\btold of\b/i, 'say "is reported" or "learns about"'],
  [/(?:^|[.:;] )(?:Who|What) (?:is|are|was|has|have|does|can|may|comes|came)\b(?!.*\?)/, 'begin with a noun'],
  [/\b(?:his|him|himself)\b/i, 'use singular they'],
];

const home = fileURLToPath(new URL('../..', import.meta.url));

async function filesBelow(folder: string, pattern: RegExp): Promise<string[]> {
  const entries = await readdir(join(home, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .filter(({ parentPath }) => !parentPath.includes('node_modules'))
    .map((entry) => relative(home, join(entry.parentPath, entry.name)))
    .sort();
}

interface Line {
  readonly place: string;
  readonly text: string;
  /** The words of the comment or page, without marks of comments, quotations and code. */
  readonly words: string;
}

async function linesOf(path: string): Promise<Line[]> {
  const text = await readFile(join(home, path), 'utf8');
  return text.split('\n').map((line, index) => ({
    place: `${path}:${String(index + 1)}`,
    text: line,
    words: line
      .replace(/^\s*(?:\/\/+|\/?\*+\/?)\s?/, '')
      .replace(/`[^`]*`|"[^"]*"|“[^”]*”/g, 'X')
      .trim(),
  }));
}

function phraseFaults(lines: readonly Line[]): string[] {
  return lines.flatMap(({ place, words }) =>
    BANNED.filter(([phrase]) => phrase.test(words)).map(([, instead]) => `${place} ${instead}: ${words}`),
  );
}

async function commentFaults(path: string): Promise<string[]> {
  const comments = (await linesOf(path)).filter(({ text }) => /^\s*(?:\/\/|\/\*|\*)/.test(text));
  const wide = comments.filter(({ text }) => text.length > WIDTH);
  return [
    ...wide.map(({ place, text }) => `${place} is ${String(text.length)} columns wide`),
    ...phraseFaults(comments),
  ];
}

/** Returns the texts in quotes of a line: messages, help, log lines. Code in them is left out. */
function literalsOf({ place, text }: Line): Line[] {
  if (/^\s*(?:\/\/|\/?\*)/.test(text)) return [];
  const literals = text.matchAll(/'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g);
  return [...literals].map(([, single, double, template]) => {
    const literal = single ?? double ?? template ?? '';
    return { place, text: literal, words: literal.replace(/`[^`]*`|\\`[^`]*\\`|\$\{[^}]*\}/g, 'X') };
  });
}

async function faultsOf(paths: readonly string[]): Promise<string[]> {
  return (await Promise.all(paths.map(commentFaults))).flat();
}

const FOLDERS = ['src', 'native', 'test', 'bench', 'packaging', 'examples'];
const sources = (
  await Promise.all(FOLDERS.map((folder) => filesBelow(folder, /\.(?:ts|js|mjs|cc|c|h)$/)))
).flat();

describe('comments', () => {
  it('are narrow, and say it plainly', async () => {
    expect(await faultsOf(sources)).toEqual([]);
  });
});

describe('messages and help', () => {
  it('say it plainly', async () => {
    const lines = await Promise.all(sources.filter((path) => /^(?:src|native)\//.test(path)).map(linesOf));
    expect(phraseFaults(lines.flat().flatMap(literalsOf))).toEqual([]);
  });

  it('are found in code', () => {
    const line = (text: string): Line => ({ place: 'here', text, words: text });
    const words = (text: string): string[] => literalsOf(line(text)).map((literal) => literal.words);
    expect(words("throw fault(`${path} is no tar`, 'run \\`fsck\\`');")).toEqual(['X is no tar', 'run X']);
    expect(words('Throw("it is no tar");  // "x"')).toEqual(['it is no tar', 'x']);
    expect(words("// 'it is no tar'")).toEqual([]);
  });
});

describe('pages', () => {
  it('say it plainly', async () => {
    const pages = [...(await filesBelow('docs', /\.md$/)), 'README.md', 'CONTRIBUTING.md', 'SECURITY.md'];
    const faults = await Promise.all(pages.map(async (page) => phraseFaults(await linesOf(page))));
    expect(faults.flat()).toEqual([]);
  });
});
