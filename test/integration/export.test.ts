/** A container's root file system as a tar. */
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { native } from '../../src/system/native.ts';
import { CAPABILITY } from '../support/edits.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { snapshot } from '../support/overlay.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
  await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(() => fixture[Symbol.asyncDispose]());

const names = (tar: Buffer): string[] =>
  execFileSync('tar', ['-t'], { input: tar }).toString().trimEnd().split('\n');

async function work(): Promise<void> {
  await using mount = await fixture.store.containers.mount('build');
  const at = (path: string): string => join(mount.path, path);
  rmSync(at('house/marble'));
  mkdirSync(at('srv'), { mode: 0o2750 });
  writeFileSync(at('srv/one'), 'shared');
  linkSync(at('srv/one'), at('a hard link'));
  await native.setXattr(at('srv/one'), 'security.capability', CAPABILITY);
  await native.makeNode(at('srv/null'), 0o020666, 1, 3);
}

describe('export', () => {
  test('writes the merged tree, as GNU tar reads it', async () => {
    await work();
    const tar = await buffer(fixture.store.containers.export('build'));
    const listed = names(tar);
    expect(listed).toEqual(
      expect.arrayContaining(['house/', 'house/concrete', 'house/rebar', '.dockerenv', 'srv/one']),
    );
    expect(listed).not.toContain('house/marble');
    expect(listed.filter((name) => name.startsWith('./') || name.includes('.wh.'))).toEqual([]);
    const out = join(fixture.scratch, 'out');
    mkdirSync(out);
    execFileSync('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-p', '-C', out, '-x'], {
      input: tar,
    });
    await using mount = await fixture.store.containers.mount('build');
    const below = (lines: string[]): string[] => lines.filter((line) => !line.startsWith('. '));
    expect(below(await snapshot(out))).toEqual(below(await snapshot(mount.path)));
  });

  test('mounts the container for itself, and leaves an existing mount', async () => {
    await buffer(fixture.store.containers.export('build'));
    expect(await fixture.store.containers.isMounted('build')).toBe(false);
    await using mount = await fixture.store.containers.mount('build');
    writeFileSync(join(mount.path, 'seen'), '');
    expect(names(await buffer(fixture.store.containers.export('build')))).toContain('seen');
    expect(await fixture.store.containers.isMounted('build')).toBe(true);
  });

  test('releases its mount when the reader stops, and at a signal', async () => {
    await using mount = await fixture.store.containers.mount('build');
    writeFileSync(join(mount.path, 'big'), Buffer.alloc(20_000_000, 1));
    await mount.unmount();
    const stream = fixture.store.containers.export('build');
    await once(stream, 'readable');
    expect(await fixture.store.containers.isMounted('build')).toBe(true);
    stream.destroy();
    await expect.poll(() => fixture.store.containers.isMounted('build')).toBe(false);
    const abort = new AbortController();
    const aborted = fixture.store.containers.export('build', { signal: abort.signal });
    await once(aborted, 'readable');
    abort.abort();
    await expect(buffer(aborted)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await expect.poll(() => fixture.store.containers.isMounted('build')).toBe(false);
  });

  test('leaves out what is mounted in the container', async () => {
    await using mount = await fixture.store.containers.mount('build');
    execFileSync('mount', ['-t', 'tmpfs', 'none', join(mount.path, 'proc')]);
    try {
      writeFileSync(join(mount.path, 'proc/inner'), '');
      const listed = names(await buffer(fixture.store.containers.export('build')));
      expect(listed).toContain('proc/');
      expect(listed).not.toContain('proc/inner');
    } finally {
      execFileSync('umount', [join(mount.path, 'proc')]);
    }
  });

  test('is a verb', async () => {
    const cli = new LayerstackCli(fixture.root);
    const { bytes } = await cli.try(['export', 'build']);
    expect(names(bytes)).toContain('house/rebar');
    const missing = await cli.try(['export', 'nobody']);
    expect({ status: missing.status, bytes: missing.bytes.length }).toEqual({ status: 1, bytes: 0 });
    expect(missing.stderr).toMatch(/^layerstack: ERR_CONTAINER_NOT_FOUND: /);
  });
});
