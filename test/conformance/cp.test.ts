/**
 * `cp` beside `docker cp`: every kind of source onto every kind of destination, with every ending of a path,
 * both ways. Both must succeed or fail alike and leave equal trees. Each case has a directory of its own with
 * the same content.
 */
import { mkdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack, LayerstackError, type Container, type CopyOptions } from '../../src/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must, mustRun, type Ran } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';
import { compareTrees, dumpTree, mapTree, type Tree } from '../support/tree.ts';

const SOURCES = [
  ...['f', 'f/', 'f/.', 'dir', 'dir/', 'dir/.', 'dir/sub', 'mode', 'hard', 'fifo', 'none'],
  ...['ldir', 'ldir/', 'ldir/.', 'lf', 'lf/', 'lchain', 'dang', 'dang/', 'dir/../f'],
];
const DESTINATIONS = [
  ...['.', 'f', 'f/', 'f/.', 'dir', 'dir/', 'dir/.', 'ldir', 'ldir/', 'ldir/.', 'lf', 'lf/', 'lchain'],
  ...[
    'dang',
    'dang/',
    'new',
    'new/',
    'new/.',
    'none/new',
    'none/',
    'odd',
    'odd/',
    'fifo',
    'lout',
    'self',
    'self/',
  ],
];

/**
 * The content of the source's and the destination's directories: the same in the container and on the host.
 */
const CONTENT: readonly TarItem[] = [
  { name: 'f', content: 'file', mode: 0o640, uid: 5, gid: 6 },
  { name: 'dir/', type: 'directory', mode: 0o750, uid: 7, gid: 8 },
  { name: 'dir/a', content: 'a' },
  { name: 'dir/sub/', type: 'directory', mode: 0o1777 },
  { name: 'dir/sub/link', type: 'symlink', linkname: '../a' },
  { name: 'dir/sub/twin', type: 'hardlink', linkname: 'dir/a' },
  { name: 'mode', content: 'x', mode: 0o751 },
  { name: 'hard', type: 'hardlink', linkname: 'f' },
  { name: 'fifo', type: 'fifo' },
  { name: 'ldir', type: 'symlink', linkname: 'dir' },
  { name: 'lf', type: 'symlink', linkname: 'f' },
  { name: 'lchain', type: 'symlink', linkname: 'ldir' },
  { name: 'dang', type: 'symlink', linkname: 'nowhere' },
  { name: 'lout', type: 'symlink', linkname: 'none/deep' },
  { name: 'self', type: 'symlink', linkname: 'self' },
  // Destinations of another kind.
  { name: 'odd/', type: 'directory' },
  { name: 'odd/f/', type: 'directory' },
  { name: 'odd/f/in', content: 'in' },
  { name: 'odd/dir', content: 'no directory' },
  { name: 'odd/ldir', content: 'no link' },
];

interface Case {
  readonly name: string;
  readonly source: string;
  readonly destination: string;
  readonly followLink: boolean;
}

const LINKS = SOURCES.filter((source) => /^(l|dang)/.test(source));

const casesOf = (sources: readonly string[], followLink: boolean): Case[] =>
  sources.flatMap((source) =>
    DESTINATIONS.map((destination) => {
      const name = `${followLink ? '-L ' : ''}${source} -> ${destination}`;
      return { name, source, destination, followLink };
    }),
  );

const CASES: readonly Case[] = [...casesOf(SOURCES, false), ...casesOf(LINKS, true)];

/**
 * Copies that docker refuses on the host, because its client resolves a link with a `/` behind it, but does
 * in a container: the content of a directory into the directory that a link leads to
 * (docs/docker-differences.md).
 */
const refusedByDocker = ({ source, destination }: Case): boolean =>
  /^l?dir\/\.$/.test(source) && /^ldir\/\.?$/.test(destination);

/**
 * Without times (new directories have the time of the copy), and with hard links only where both names are
 * left, because an overlay counts the names of the layers below.
 */
function comparable(tree: Tree): Tree {
  const names = new Map<string, number>();
  for (const { inode } of tree.values()) if (inode) names.set(inode, (names.get(inode) ?? 0) + 1);
  return mapTree(tree, ({ inode, ...entry }) => ({
    ...entry,
    mtime: '',
    ...(inode && (names.get(inode) ?? 0) > 1 && { inode }),
  }));
}

describe.runIf(havePeers('dockerd', 'docker', 'python3', 'tar'))('cp beside docker cp', () => {
  let scratch: string;
  let daemon: Dockerd;
  let store: Layerstack;
  let container: Container;
  let content: string;

  beforeAll(async () => {
    scratch = makeScratch('cp');
    content = join(scratch, 'content');
    mkdirSync(content);
    await writeFile(`${content}.tar`, tar(CONTENT));
    await must('tar', ['-xpf', `${content}.tar`, '-C', content]);
    const at = (directory: string): TarItem[] => [
      { name: `${directory}/`, type: 'directory' },
      ...CONTENT.map((item) => {
        const member = item as { name: string; type?: string; linkname?: string };
        const linkname =
          member.type === 'hardlink' ? `${directory}/${member.linkname ?? ''}` : (member.linkname ?? '');
        return { ...item, name: `${directory}/${member.name}`, linkname };
      }),
    ];
    const layer = layerOf([
      ...at('source'),
      { name: 'w/', type: 'directory' },
      ...CASES.flatMap((_, index) => at(`w/${String(index)}`)),
    ]);
    const archive = join(scratch, 'image.tar');
    await writeFile(archive, tar(dockerArchive([imageOf([layer], { tags: ['cp:1'] })])));
    daemon = await Dockerd.start(join(scratch, 'docker'));
    await daemon.docker('load', '-i', archive);
    await daemon.docker('create', '--name', 'cc', 'cp:1');
    store = await Layerstack.open({ root: join(scratch, 'root') });
    await store.images.load(archive);
    container = await store.containers.create('cp:1', { name: 'cc' });
  });

  afterAll(async () => {
    await store.close();
    await daemon.stop();
    await dropScratch(scratch);
  });

  async function docker({ followLink }: Case, from: string, to: string): Promise<string> {
    const { status, stderr } = await daemon.try('cp', ...(followLink ? ['-L'] : []), from, to);
    return status === 0 ? '' : stderr.trim();
  }

  async function ours(copy: (options: CopyOptions) => Promise<void>, { followLink }: Case): Promise<string> {
    try {
      await copy({ followLink });
      return '';
    } catch (error) {
      if (LayerstackError.is(error) || (error instanceof Error && 'errno' in error)) return error.message;
      throw error;
    }
  }

  /** Returns a line for each case in which only one of the two succeeds. */
  function disagreement(name: string, mine: string, theirs: string): string[] {
    return (mine === '') === (theirs === '')
      ? []
      : [`${name}: ${mine || 'done'}; docker: ${theirs || 'done'}`];
  }

  test('into a container', async () => {
    const lines: string[] = [];
    for (const [index, item] of CASES.entries()) {
      const destination = `/w/${String(index)}/${item.destination}`;
      const source = `${content}/${item.source}`;
      const theirs = await docker(item, source, `cc:${destination}`);
      const mine = await ours(
        (options) => store.containers.copyIn(container, source, destination, options),
        item,
      );
      lines.push(...disagreement(item.name, mine, theirs));
    }
    expect(lines).toEqual([]);
    const exported = join(scratch, 'exported');
    mkdirSync(exported);
    await daemon.docker('export', '-o', `${exported}.tar`, 'cc');
    await must('tar', ['-xpf', `${exported}.tar`, '-C', exported, 'w']);
    await using mount = await store.containers.mount(container);
    const found = comparable(await dumpTree(join(mount.path, 'w')));
    expect(compareTrees(found, comparable(await dumpTree(join(exported, 'w'))))).toEqual([]);
  });

  test('the content of a directory is copied through a link of the host', async () => {
    for (const [index, item] of CASES.filter(refusedByDocker).entries()) {
      const directory = join(scratch, `through-${String(index)}`);
      await must('cp', ['-a', content, directory]);
      await writeFile(join(directory, 'dir/a'), 'old');
      const destination = `${directory}/${item.destination}`;
      await store.containers.copyOut(container, `/source/${item.source}`, destination, {
        followLink: item.followLink,
      });
      expect(await readFile(join(directory, 'dir/a'), 'utf8')).toBe('a');
    }
  });

  test('out of a container', async () => {
    const lines: string[] = [];
    for (const who of ['mine', 'theirs']) mkdirSync(join(scratch, who));
    const cases = CASES.filter((item) => !refusedByDocker(item));
    for (const [index, item] of cases.entries()) {
      const [mineAt, theirsAt] = ['mine', 'theirs'].map((who) => join(scratch, who, String(index)));
      for (const directory of [mineAt, theirsAt]) await must('cp', ['-a', content, directory ?? '']);
      const destination = (directory = ''): string => `${directory}/${item.destination}`;
      const theirs = await docker(item, `cc:/source/${item.source}`, destination(theirsAt));
      const mine = await ours(
        (options) =>
          store.containers.copyOut(container, `/source/${item.source}`, destination(mineAt), options),
        item,
      );
      lines.push(...disagreement(item.name, mine, theirs));
    }
    expect(lines).toEqual([]);
    const found = comparable(await dumpTree(join(scratch, 'mine')));
    expect(compareTrees(found, comparable(await dumpTree(join(scratch, 'theirs'))))).toEqual([]);
  });

  /** Names, kinds and link targets of a tar, as GNU tar lists them; the first line of an error instead. */
  async function listing(ran: Ran): Promise<string[]> {
    if (ran.status !== 0) return ['fails'];
    const list = await mustRun('tar', ['-tvPf', '-', '--numeric-owner'], { input: ran.bytes });
    return list.stdout.split('\n').filter((line) => line !== '');
  }

  test.each([
    '/source',
    '/source/',
    '/source/.',
    '/source/ldir',
    '/source/ldir/',
    '/source/f',
    '/source/f/',
    '/nope',
  ])('the command writes %s as the tar that docker writes', async (path) => {
    const cli = new LayerstackCli(store.root);
    const ours = await cli.try(['cp', `cc:${path}`, '-']);
    expect(await listing(ours)).toEqual(await listing(await daemon.try('cp', `cc:${path}`, '-')));
    if (ours.status !== 0) expect(ours.stderr).toMatch(/^layerstack: ERR_PATH_(NOT_FOUND|TYPE): cc:/);
  });

  test('the command follows a link with -L, and takes a tar', async () => {
    const cli = new LayerstackCli(store.root);
    expect(await listing(await cli.try(['cp', '-L', 'cc:source/ldir', '-']))).toEqual(
      await listing(await daemon.try('cp', '-L', 'cc:source/ldir', '-')),
    );
    const input = tar([{ name: 'piped', content: 'by stdin' }]);
    expect((await cli.try(['cp', '-', 'cc:/source/ldir'], { input })).stderr).toBe('');
    await cli.run('cp', 'cc:source/dir/piped', join(scratch, 'piped'));
    expect(await readFile(join(scratch, 'piped'), 'utf8')).toBe('by stdin');
  });

  test.each([
    ['cc:/a', 'cc:/b'],
    ['./a', './b'],
    ['', 'cc:/'],
    [':a', './b'],
  ])('the command refuses %j %j', async (from, to) => {
    expect((await new LayerstackCli(store.root).try(['cp', from, to])).status).toBe(2);
  });
});
