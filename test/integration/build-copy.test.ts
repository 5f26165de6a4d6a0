/** COPY and ADD: contexts, names, owners, the digest for the cache, and links that lead out. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openContext } from '../../src/build/context/context.ts';
import { prepareCopy, type CopyRequest } from '../../src/build/context/copy.ts';
import { Root } from '../../src/system/root.ts';
import { storeSettings } from '../../src/app/store-settings.ts';
import { ForwardProxy } from '../support/forward-proxy.ts';
import { HttpServer } from '../support/http-server.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar, type TarItem } from '../support/tar.ts';

let scratch: string;
let root: Root;

beforeEach(async () => {
  scratch = makeScratch('build-copy');
  mkdirSync(at('ctx'));
  mkdirSync(at('rootfs'));
  root = await Root.open(join(scratch, 'store'));
});

afterEach(async () => {
  await root.close();
  await dropScratch(scratch);
});

const at = (...names: string[]): string => join(scratch, ...names);
const context = (...names: string[]): string => at('ctx', ...names);
const inside = (...names: string[]): string => at('rootfs', ...names);

/** Writes files of the context, and makes their directories. */
function write(files: Readonly<Record<string, string | Uint8Array>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(context(name), '..'), { recursive: true });
    writeFileSync(context(name), content);
  }
}

const settings = (): Promise<never> => Promise.reject(new Error('nothing is downloaded'));

type Written = Partial<CopyRequest> & Pick<CopyRequest, 'sources' | 'destination'>;

async function prepare(request: Written) {
  await using opened = await openContext({ directory: context() }, { root });
  const whole = { instruction: 'COPY', workingDir: '/', from: opened.root, ignore: opened.ignore } as const;
  return await prepareCopy({ ...whole, ...request }, { root, settings });
}

/** Copies into the root file system, and returns the digest. */
async function copy(request: Written): Promise<string> {
  await using prepared = await prepare(request);
  await prepared.apply(inside());
  return prepared.digest;
}

const digestOf = async (request: Written): Promise<string> => {
  await using prepared = await prepare(request);
  return prepared.digest;
};

/** Lists a directory of the root file system: paths, modes and owners. */
function list(path = ''): string[] {
  const lines = execFileSync('find', [inside(path), '-mindepth', '1', '-printf', '%P %y %m %U:%G\\n']);
  return lines.toString().trimEnd().split('\n').sort();
}

describe('destinations', () => {
  test('a directory is copied by its content, into directories that are made', async () => {
    write({ 'dir/sub/file': 'x' });
    chmodSync(context('dir'), 0o700);
    chmodSync(context('dir/sub'), 0o2750);
    await copy({ sources: ['dir'], destination: 'made/here', workingDir: '/work' });
    expect(list()).toEqual([
      'work d 755 0:0',
      'work/made d 755 0:0',
      'work/made/here d 755 0:0',
      'work/made/here/sub d 2750 0:0',
      'work/made/here/sub/file f 644 0:0',
    ]);
  });

  test.each([
    ['/new', 'new'],
    ['/new/', 'new/file'],
    ['/old', 'old/file'],
    ['/old/', 'old/file'],
    ['/a/b/c', 'a/b/c'],
  ])('a file that goes to %s becomes %s', async (destination, path) => {
    write({ file: 'content' });
    mkdirSync(inside('old'));
    await copy({ sources: ['file'], destination });
    expect(readFileSync(inside(path), 'utf8')).toBe('content');
  });

  test("several sources need a directory, in docker's words", async () => {
    write({ 'a.txt': 'a', 'b.txt': 'b', 'c.md': 'c' });
    await expect(digestOf({ sources: ['*.txt'], destination: '/all' })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message:
        'When using COPY with more than one source file, the destination must be a directory and end with a /',
    });
    await copy({ sources: ['*.txt'], destination: '/all/' });
    expect(readdirSync(inside('all'))).toEqual(['a.txt', 'b.txt']);
  });

  test('an owner is given to new directories and files, which lose set-user-ids', async () => {
    write({ 'bin/program': 'x' });
    chmodSync(context('bin/program'), 0o4755);
    await copy({ sources: ['bin'], destination: '/opt/app', owner: { uid: 7, gid: 8 } });
    expect(list()).toEqual(['opt d 755 7:8', 'opt/app d 755 7:8', 'opt/app/program f 755 7:8']);
  });

  test('another stage keeps its owners and set-user-ids', async () => {
    write({ program: 'x' });
    execFileSync('chown', ['5:6', context('program')]);
    chmodSync(context('program'), 0o4755);
    await copy({ sources: ['/program'], destination: '/', ignore: undefined });
    expect(list()).toEqual(['program f 4755 5:6']);
  });

  test('--chmod, --exclude, --parents and heredocs', async () => {
    write({ 'src/a/x.js': 'x', 'src/a/x.md': 'm', 'src/b/y.js': 'y' });
    await copy({ sources: ['src'], destination: '/1', mode: '0700', exclude: ['**/*.md'] });
    await copy({ sources: ['./src/./**/*.js'], destination: '/2/', parents: true });
    await copy({ sources: [], inline: [{ name: 'note', content: 'text\n' }], destination: '/3/' });
    expect(list()).toEqual([
      '1 d 755 0:0',
      '1/a d 700 0:0',
      '1/a/x.js f 700 0:0',
      '1/b d 700 0:0',
      '1/b/y.js f 700 0:0',
      '2 d 755 0:0',
      '2/a d 755 0:0',
      '2/a/x.js f 644 0:0',
      '2/b d 755 0:0',
      '2/b/y.js f 644 0:0',
      '3 d 755 0:0',
      '3/note f 644 0:0',
    ]);
    expect(readdirSync(at('store/layerstack/contexts'))).toEqual([]);
  });
});

describe('sources', () => {
  test.each([
    ['nope', 'file not found in build context or excluded by .dockerignore: stat nope: file does not exist'],
    ['../ctx/file', 'forbidden path outside the build context: ../ctx/file ()'],
    ['n*', 'no source files were specified'],
    [
      'hidden/file',
      'file not found in build context or excluded by .dockerignore: stat hidden/file: file does not exist',
    ],
  ])('refuses %s', async (source, message) => {
    write({ file: 'x', 'hidden/file': 'x', '.dockerignore': 'hidden\n' });
    await expect(digestOf({ sources: [source], destination: '/' })).rejects.toThrow(
      `COPY failed: ${message}`,
    );
  });

  test('a .dockerignore hides files, and takes some back in', async () => {
    write({ 'a/keep': '', 'a/no': '', 'a/deep/x/y': '', 'b.log': '', 'c/d.log': '', e: '' });
    write({ '.dockerignore': '# comment\n/a\n!a/keep\n!a/deep/x/y\n**/*.log\n.dockerignore\n' });
    chmodSync(context('a'), 0o711);
    await copy({ sources: ['.'], destination: '/', owner: { uid: 3, gid: 4 } });
    expect(list()).toEqual([
      'a d 755 3:4',
      'a/deep d 755 3:4',
      'a/deep/x d 755 3:4',
      'a/deep/x/y f 644 3:4',
      'a/keep f 644 3:4',
      'c d 755 3:4',
      'e f 644 3:4',
    ]);
  });

  test('a link as a source means its target, under its own name', async () => {
    write({ 'real/file': 'x' });
    symlinkSync('real', context('dir-link'));
    symlinkSync('real/file', context('file-link'));
    await copy({ sources: ['dir-link', 'file-link'], destination: '/to/' });
    expect(list('to')).toEqual(['file f 644 0:0', 'file-link f 644 0:0']);
  });

  test('ADD extracts tars, with their owners, and copies other files', async () => {
    const items: TarItem[] = [
      { name: 'bin/', type: 'directory', uid: 1 },
      { name: 'bin/x', uid: 2, mode: 0o4755 },
    ];
    write({
      'plain.tar': tar(items),
      'packed.tgz': gzipSync(tar(items)),
      text: 'no tar',
      'zip.gz': gzipSync('no tar'),
    });
    await copy({ instruction: 'ADD', sources: ['plain.tar'], destination: '/1', extract: true });
    await copy({
      instruction: 'ADD',
      sources: ['packed.tgz', 'text', 'zip.gz'],
      destination: '/2/',
      extract: true,
    });
    expect(list()).toEqual([
      '1 d 755 0:0',
      '1/bin d 755 1:0',
      '1/bin/x f 4755 2:0',
      '2 d 755 0:0',
      '2/bin d 755 1:0',
      '2/bin/x f 4755 2:0',
      '2/text f 644 0:0',
      '2/zip.gz f 644 0:0',
    ]);
  });
});

describe('the digest', () => {
  test('depends on names, modes and contents, not on times', async () => {
    write({ 'dir/file': 'one' });
    const request = { sources: ['dir'], destination: '/' };
    const first = await digestOf(request);
    lutimesSync(context('dir/file'), 1, 1);
    expect(await digestOf(request)).toBe(first);
    chmodSync(context('dir/file'), 0o600);
    const mode = await digestOf(request);
    write({ 'dir/file': 'two' });
    const content = await digestOf(request);
    write({ 'dir/file2': '' });
    const name = await digestOf(request);
    expect(new Set([first, mode, content, name]).size).toBe(4);
  });

  test('a source that changes before it is copied is an error', async () => {
    write({ file: 'one' });
    await using prepared = await prepare({ sources: ['file'], destination: '/' });
    write({ file: 'two' });
    await expect(prepared.apply(inside())).rejects.toMatchObject({ code: 'ERR_CONFLICT' });
  });
});

describe('a context as a tar', () => {
  test('is extracted for the time of the build, and hides only what dockerd hides', async () => {
    const items: TarItem[] = [
      { name: 'Dockerfile', content: 'FROM scratch\n' },
      { name: '.dockerignore', content: 'Dockerfile\nfile\n' },
      { name: 'file', content: 'sent all the same' },
    ];
    const opened = await openContext({ tar: Readable.from([gzipSync(tar(items))]) }, { root });
    expect(await opened.readDockerfile('Dockerfile')).toBe('FROM scratch\n');
    await expect(opened.readDockerfile('nope')).rejects.toThrow('Cannot locate specified Dockerfile: nope');
    await copy({ from: opened.root, ignore: opened.ignore, sources: ['.'], destination: '/' });
    expect(readdirSync(inside())).toEqual(['.dockerignore', 'file']);
    await opened[Symbol.asyncDispose]();
    expect(existsSync(opened.root)).toBe(false);
  });
});

describe('ADD of a URL', () => {
  const content = 'of the internet';
  const modified = 'Wed, 21 Oct 2015 07:28:00 GMT';
  let server: HttpServer;
  let proxy: ForwardProxy;

  beforeEach(async () => {
    server = await HttpServer.start((_, response) => {
      response.writeHead(200, { 'Last-Modified': modified }).end(content);
    });
    const port = Number(server.host.split(':')[1]);
    proxy = await ForwardProxy.start({ hosts: { 'files.example:80': port } });
  });
  afterEach(async () => {
    await proxy.stop();
    await server.stop();
  });

  const add = (url: string, checksum?: string) =>
    prepareCopy(
      {
        ...{ instruction: 'ADD', from: context(), ignore: [], sources: [], destination: '/got/' },
        ...{ workingDir: '/', remote: [{ url, checksum }], extract: true },
      },
      { root, settings: () => storeSettings(at('store'), true), env: { HTTP_PROXY: proxy.url() } },
    );

  test('takes the name, the time and the mode of docker, and checks the checksum', async () => {
    const digest = createHash('sha256').update(content).digest('hex');
    const prepared = await add('http://files.example/a/file?query', `sha256:${digest}`);
    await prepared.apply(inside());
    await prepared[Symbol.asyncDispose]();
    expect(list('got')).toEqual(['file f 600 0:0']);
    expect(statSync(inside('got/file')).mtime.toUTCString()).toBe(modified);
    expect(readdirSync(at('store/layerstack/contexts'))).toEqual([]);
  });

  test.each([
    ['another content', 'http://files.example/file', 'ERR_DIGEST_MISMATCH'],
    ['this machine', 'http://127.0.0.1:1/file', 'ERR_REGISTRY_NOT_FOUND'],
    ["a cloud's metadata", 'http://169.254.169.254/file', 'ERR_REGISTRY_NOT_FOUND'],
    ['no file', 'http://files.example/', 'ERR_INVALID_ARGUMENT'],
  ])('refuses %s, and leaves nothing', async (_, url, code) => {
    await expect(add(url, `sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({ code });
    expect(readdirSync(at('store/layerstack/contexts'))).toEqual([]);
  });
});

describe('attacks', () => {
  beforeEach(() => {
    writeFileSync(at('secret'), 'secret');
    mkdirSync(at('outside'));
  });

  test('a link of the context cannot lead out of it (CVE-2014-9357, CVE-2015-3629)', async () => {
    symlinkSync(at('secret'), context('absolute'));
    symlinkSync('../secret', context('relative'));
    symlinkSync('../..', context('up'));
    for (const source of ['absolute', 'relative', 'up/secret'])
      await expect(digestOf({ sources: [source], destination: '/' })).rejects.toMatchObject({
        code: 'ERR_PATH_NOT_FOUND',
      });
    await copy({ sources: ['.'], destination: '/' });
    expect(list().map((line) => line.split(' ').slice(0, 2))).toEqual([
      ['absolute', 'l'],
      ['relative', 'l'],
      ['up', 'l'],
    ]);
  });

  test('a link of the destination cannot lead out of the root file system (CVE-2018-15664)', async () => {
    write({ file: 'x', 'dir/link/file': 'x' });
    symlinkSync(at('outside'), inside('link'));
    symlinkSync('../outside', inside('up'));
    await copy({ sources: ['file'], destination: '/link/' });
    await copy({ sources: ['file'], destination: '/up/a/b' });
    await copy({ sources: ['dir'], destination: '/' });
    expect(readdirSync(at('outside'))).toEqual([]);
    expect(readFileSync(inside(at('outside'), 'file'), 'utf8')).toBe('x');
    expect(readFileSync(inside('outside/a/b'), 'utf8')).toBe('x');
  });

  test('a Dockerfile or .dockerignore that is a link stays in the context', async () => {
    symlinkSync(at('secret'), context('Dockerfile'));
    symlinkSync(at('secret'), context('.dockerignore'));
    await using opened = await openContext({ directory: context() }, { root });
    expect(opened.ignore).toEqual([]);
    await expect(opened.readDockerfile('Dockerfile')).rejects.toMatchObject({ code: 'ERR_PATH_NOT_FOUND' });
  });
});
