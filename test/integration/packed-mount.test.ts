/**
 * `layerstack mount ./app.tar`: mounts that outlive their processes, archives that change under them, and
 * what dead processes leave.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dockerArchive, ociArchive, v1Archive, writeFolder } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { writeArchive } from '../support/packed-layers.ts';

const OPENER = fileURLToPath(new URL('../fixtures/open-archive.mjs', import.meta.url));

const IMAGE = imageOf([layerOf({ 'etc/motd': 'hello\n', big: 'x'.repeat(200_000) })], { tags: ['app:1'] });

let scratch: string;
let cli: LayerstackCli;
let archive: string;

beforeEach(() => {
  scratch = makeScratch('packed-mount');
  cli = new LayerstackCli(join(scratch, 'store'));
  archive = writeArchive(join(scratch, 'app.tar'), dockerArchive([IMAGE]));
});

afterEach(() => dropScratch(scratch));

const places = (): string => join(cli.root, 'layerstack/archives');

/** The mounted root file systems, without the mounts of their indexes. */
const rootsBelow = (directory: string): string[] =>
  mountsBelow(directory).filter((path) => basename(path) === 'merged');

/** No mount, no loop device, no directory. */
function expectNothing(directory = places()): void {
  if (existsSync(directory))
    expect(readdirSync(directory).filter((name) => name.startsWith('layerstack-archive'))).toEqual([]);
  expect(mountsBelow(scratch)).toEqual([]);
  expect(
    execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' }),
  ).not.toContain(scratch);
}

/** What a command says where it fails. */
async function failure(...args: string[]): Promise<string> {
  const { status, stderr, stdout } = await cli.try(args);
  expect([status, stdout]).toEqual([1, '']);
  return stderr;
}

describe('mount and unmount', () => {
  it('give a writable root file system that stays until the unmount, which leaves nothing', async () => {
    const path = await cli.run('mount', archive);
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('hello\n');
    writeFileSync(join(path, 'etc/motd'), 'changed\n');
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('changed\n');
    await cli.run('images');
    expect(existsSync(path)).toBe(true);
    expect(await cli.run('unmount', archive)).toBe(archive);
    expectNothing();
    expect(readFileSync(join(await cli.run('mount', archive), 'etc/motd'), 'utf8')).toBe('hello\n');
    await cli.run('unmount', archive);
    expectNothing();
  });

  it('are counted across processes', async () => {
    const paths = await Promise.all([1, 2, 3, 4].map(() => cli.run('mount', archive)));
    expect(new Set(paths).size).toBe(1);
    const [path = ''] = paths;
    for (const name of [archive, path, `${path}/`]) {
      await cli.run('unmount', name);
      expect(rootsBelow(scratch)).toEqual([path]);
    }
    await cli.run('unmount', archive);
    expectNothing();
    await cli.run('unmount', archive); // of what is not mounted: nothing to do
    await cli.run('mount', archive);
    await cli.run('mount', archive);
    await cli.run('unmount', '--force', archive);
    expectNothing();
  });

  it('take a relative path, a path through links, and the path of a removed archive', async () => {
    mkdirSync(join(scratch, 'sub'));
    execFileSync('ln', ['-s', '../app.tar', join(scratch, 'sub/link.tar')]);
    const at = { cwd: join(scratch, 'sub') };
    const first = await mustRun(process.execPath, cli.argv('mount', './link.tar'), at);
    expect(first.stdout.trim()).toBe(await cli.run('mount', archive));
    await cli.run('unmount', join(scratch, 'sub/link.tar'));
    rmSync(archive);
    await cli.run('unmount', archive);
    expectNothing();
    expect(await failure('unmount', archive)).toContain('ERR_PATH_NOT_FOUND');
  });

  it('take the mounted link, wherever it leads now', async () => {
    const other = writeArchive(join(scratch, 'other.tar'), dockerArchive([IMAGE]));
    const link = join(scratch, 'current.tar');
    symlinkSync(archive, link);
    const first = await cli.run('mount', link);
    const second = await cli.run('mount', other);
    rmSync(link);
    symlinkSync(other, link);
    await cli.run('unmount', link);
    expect([existsSync(first), existsSync(second)]).toEqual([false, true]);
    await cli.run('unmount', other);
    expectNothing();
  });

  it('do not share a mount between read-only and writable, verified and unverified', async () => {
    const path = await cli.run('mount', '--readonly-rootfs', archive);
    expect(() => writeFileSync(join(path, 'x'), '')).toThrow('EROFS');
    expect(await failure('mount', archive)).toContain('ERR_CONTAINER_MOUNTED');
    await cli.run('unmount', archive);
    const { status, stderr } = await cli.try(['mount', '--no-verify', archive]);
    expect([status, stderr]).toEqual([0, 'The archive was not verified\n']);
    expect(await failure('mount', archive)).toContain('without being verified');
    await cli.run('unmount', archive);
    expectNothing();
  });

  it('share a mount of an archive that has no digests, and say that it was not verified', async () => {
    const old = writeArchive(join(scratch, 'old.tar'), v1Archive(IMAGE));
    const { status, stdout, stderr } = await cli.try(['mount', old]);
    expect([status, stderr]).toEqual([0, expect.stringContaining('could not be verified') as string]);
    expect(await cli.run('mount', old)).toBe(stdout.trim());
    await cli.run('unmount', old);
    await cli.run('unmount', old);
    expectNothing();
  });

  it('handle several images of one archive separately', async () => {
    const other = imageOf([layerOf({ which: 'other' })], { tags: ['other:1'] });
    writeArchive(archive, dockerArchive([IMAGE, other]));
    expect(await failure('mount', archive)).toContain('choose one with image (--image): app:1, other:1');
    const first = await cli.run('mount', '--image', 'app:1', archive);
    const second = await cli.run('mount', '--image', 'other:1', archive);
    expect([existsSync(join(first, 'etc/motd')), existsSync(join(second, 'which'))]).toEqual([true, true]);
    expect(await failure('unmount', archive)).toContain(first);
    await cli.run('unmount', first, second);
    expectNothing();
  });

  it('keep a root file system in use, unless forced', async () => {
    const path = await cli.run('mount', archive);
    const user = spawn('sleep', ['100'], { cwd: path });
    try {
      expect(await failure('unmount', archive)).toContain('is in use');
      expect(rootsBelow(scratch)).toEqual([path]);
      await cli.run('unmount', '--force', archive);
      expectNothing();
    } finally {
      user.kill();
    }
  });

  it('refuse options of archives for containers, whose names are not paths', async () => {
    await cli.run('load', '-i', archive);
    await cli.run('create', '--name', 'build', 'app:1');
    expect((await cli.try(['mount', '--no-verify', 'build'])).status).toBe(2);
    const path = await cli.run('mount', '/build');
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('hello\n');
    await cli.run('unmount', 'build');
  });
});

describe('an archive that has changed', () => {
  const cases: Readonly<Record<string, () => void>> = {
    changed: () => {
      const bytes = readFileSync(archive);
      bytes.write('HELLO', bytes.indexOf('hello\n'));
      writeFileSync(archive, bytes);
    },
    'changed in its times': () => utimesSync(archive, 1, 1),
    'cut off': () => truncateSync(archive, 4096),
    extended: () => appendFileSync(archive, Buffer.alloc(512)),
    replaced: () => {
      writeArchive(`${archive}.new`, dockerArchive([IMAGE]));
      renameSync(`${archive}.new`, archive);
    },
  };

  it.each(Object.keys(cases))('is not mounted a second time: %s', async (name) => {
    const path = await cli.run('mount', archive);
    cases[name]?.();
    const said = await failure('mount', archive);
    expect(said).toContain('ERR_ARCHIVE_CHANGED');
    expect(said).toContain('unmount it');
    await cli.run('unmount', path);
    expectNothing();
  });

  it('gives errors if it was truncated, and the old bytes if it was replaced', async () => {
    const path = await cli.run('mount', archive);
    cases['replaced']?.();
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('hello\n');
    await cli.run('unmount', path);
    const again = await cli.run('mount', archive);
    truncateSync(archive, 0);
    execFileSync('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches']);
    expect(() => readFileSync(join(again, 'big'))).toThrow('EIO');
    await cli.run('unmount', again);
    expectNothing();
  });

  it('is a folder in which a tool has put another image', async () => {
    const folder = join(scratch, 'layout');
    mkdirSync(folder);
    await writeFolder(folder, ociArchive([IMAGE], { compress: (bytes) => bytes }));
    await cli.run('mount', folder);
    const index = join(folder, 'index.json');
    writeFileSync(join(scratch, 'index.json'), readFileSync(index));
    renameSync(join(scratch, 'index.json'), index);
    expect(await failure('mount', folder)).toContain('ERR_ARCHIVE_CHANGED');
    await cli.run('unmount', folder);
    expectNothing();
  });

  it('is not read while another program has it locked', async () => {
    const writer = spawn('flock', [archive, 'sleep', '100'], { stdio: 'ignore', detached: true });
    try {
      await expect.poll(() => failureOrNot('mount', archive)).toContain('ERR_ARCHIVE_CHANGED');
    } finally {
      process.kill(-Number(writer.pid));
    }
    expectNothing();
  });

  async function failureOrNot(...args: string[]): Promise<string> {
    const { stderr, stdout } = await cli.try(args);
    if (stdout !== '') await cli.run('unmount', archive);
    return stderr;
  }
});

describe('leftovers of dead processes', () => {
  it('a store that was killed with an archive open: the next writer removes it', async () => {
    await killed(cli.root);
    expect(rootsBelow(scratch)).toHaveLength(1);
    await cli.run('mount', archive); // a living mount stays
    expect(rootsBelow(scratch)).toHaveLength(1);
    await cli.run('unmount', archive);
    expectNothing();
  });

  it('without a store: the next opened archive removes it', async () => {
    const own = join(scratch, 'own');
    mkdirSync(own);
    await killed('-', own);
    expect(rootsBelow(own)).toHaveLength(1);
    await killed('-', own);
    expect(rootsBelow(own)).toHaveLength(1);
    const { openArchive } = await import('../../src/app/archives.ts');
    await (await openArchive(archive, { directory: own })).close();
    expectNothing(own);
  });

  it('a kill at any moment of a mount', async () => {
    // As long as a whole mount takes, from its first directory.
    const start = Date.now();
    await cli.run('mount', archive);
    const length = Date.now() - start;
    await cli.run('unmount', archive);
    for (let at = 0; at <= 12; at++) {
      const child = spawn(process.execPath, cli.argv('mount', archive), { stdio: 'ignore' });
      const ended = new Promise((resolve) => child.once('exit', resolve));
      await new Promise((resolve) => setTimeout(resolve, (length * (6 + at)) / 18));
      child.kill('SIGKILL');
      await ended;
      await cli.run('unmount', archive);
      expectNothing();
    }
  });

  it('a reboot: the record of a mount that ended with its kernel', async () => {
    const path = await cli.run('mount', archive);
    execFileSync('umount', [path]);
    expect(existsSync(join(dirname(path), 'record.json'))).toBe(true);
    await cli.run('tag', 'nothing', 'x').catch(() => undefined);
    expectNothing();
  });

  it('a mount of another mount namespace does not count as one here', async () => {
    const path = await cli.run('mount', archive);
    // Private, and without the mount.
    await mustRun('unshare', [
      ...['--mount', 'sh', '-c', 'umount "$1" && shift && exec "$@"', 'sh', path],
      ...[process.execPath, ...cli.argv('load', '-i', archive)],
    ]);
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('hello\n');
    writeFileSync(join(path, 'etc/motd'), 'still writable');
    await cli.run('unmount', archive);
    expectNothing();
  });

  it('a root file system of another mount namespace is neither counted nor removed', async () => {
    const path = await cli.run('mount', archive);
    writeFileSync(join(path, 'etc/motd'), 'written');
    for (const verb of ['mount', 'unmount']) {
      const { stdout } = await mustRun('unshare', [
        ...['--mount', 'sh', '-c', 'umount "$1" && shift && ! "$@" 2>&1', 'sh', path],
        ...[process.execPath, ...cli.argv(verb, archive)],
      ]);
      expect(stdout.toString()).toContain('in another mount namespace');
    }
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('written');
    expect(await cli.run('unmount', archive)).toBe(archive);
    expectNothing();
  });

  it('a mount whose record another version wrote stays', async () => {
    const path = await cli.run('mount', archive);
    const record = join(dirname(path), 'record.json');
    const text = readFileSync(record);
    writeFileSync(record, '{"format":2}');
    await cli.run('load', '-i', archive);
    expect(readFileSync(join(path, 'etc/motd'), 'utf8')).toBe('hello\n');
    writeFileSync(record, text);
    await cli.run('unmount', archive);
    expectNothing();
  });

  /** Opens the archive in a process and kills it. */
  async function killed(...args: string[]): Promise<void> {
    const [root = '-', directory = ''] = args;
    const child = spawn(process.execPath, [OPENER, root, archive, directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGKILL');
    await ended;
  }
});

it('doctor says how archives are mounted', async () => {
  const { stdout } = await cli.try(['doctor', '--format', 'json']);
  const findings = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; state: string; detail: string });
  expect(findings.find(({ name }) => name === 'erofs')).toMatchObject({ state: 'ok' });
});

it.each([
  ['file', 'ok', /^file: /],
  ['loop', 'ok', /^loop: /],
  ['none', 'warn', /^none: /],
])('doctor shows the method %s', async (method, state, detail) => {
  const { stdout } = await cli.try(['doctor', '--format', 'json'], {
    env: { LAYERSTACK_CAPS: `erofs=${method}` },
  });
  const row = stdout.split('\n').find((line) => line.includes('"erofs"')) ?? '{}';
  expect(JSON.parse(row)).toMatchObject({ state, detail: expect.stringMatching(detail) as string });
});
