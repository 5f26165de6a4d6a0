/**
 * A container's working directory is there when the container is, as dockerd makes it: owned by root, where
 * the image's links lead, with what is above it as in the image.
 */
import { chownSync, existsSync, lstatSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rejection } from '../support/errors.ts';
import { archiveOfMembers, TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build(
    archiveOfMembers(
      [
        [
          { name: 'srv', type: 'directory', mode: 0o2751, uid: 7, gid: 8 },
          { name: 'srv/there', type: 'directory', mode: 0o700 },
          { name: 'srv/gone', type: 'directory' },
          { name: 'srv/gone/below', type: 'directory' },
          { name: 'file', content: 'x' },
          { name: 'to-srv', type: 'symlink', linkname: '/srv' },
          { name: 'srv/up', type: 'symlink', linkname: '../../../new' },
          { name: 'dangling', type: 'symlink', linkname: 'srv/made/by-link' },
          { name: 'loop', type: 'symlink', linkname: 'loop' },
        ],
        [
          { name: 'srv', type: 'directory', mode: 0o2751, uid: 7, gid: 8 },
          { name: 'srv/.wh.gone', content: '' },
        ],
      ],
      { Cmd: ['/x'], WorkingDir: '/image/dir' },
    ),
  );
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Every path in the writable layer, with owner and mode of the directories. */
async function changes(workingDir: string | undefined): Promise<string[]> {
  const { mountId } = await fixture.store.containers.create(IMAGE, { workingDir });
  const upper = fixture.at(join('overlay2', mountId, 'diff'));
  const names = readdirSync(upper, { recursive: true, encoding: 'utf8' }).sort();
  return names.map((name) => {
    const { uid, gid, mode } = lstatSync(join(upper, name));
    return `${name} ${String(uid)}:${String(gid)} ${(mode & 0o7777).toString(8)}`;
  });
}

describe('the working directory of a new container', () => {
  it.each<[string | undefined, string[]]>([
    [undefined, ['image 0:0 755', 'image/dir 0:0 755']],
    ['/srv/there', []],
    ['/srv/there/', []],
    ['/', []],
    ['/srv', []],
    ['/wd', ['wd 0:0 755']],
    ['/a/./b/../c//', ['a 0:0 755', 'a/c 0:0 755']],
    // A directory above it stays as it is in the image.
    ['/srv/x', ['srv 7:8 2751', 'srv/x 0:0 755']],
    ['/to-srv/x', ['srv 7:8 2751', 'srv/x 0:0 755']],
    ['/to-srv/there', []],
    ['/srv/up/y', ['new 0:0 755', 'new/y 0:0 755']],
    ['/dangling', ['srv 7:8 2751', 'srv/made 0:0 755', 'srv/made/by-link 0:0 755']],
    ['/srv/gone', ['srv 7:8 2751', 'srv/gone 0:0 755']],
    // Of the init layer.
    ['/dev/shm', []],
    ['/etc/app', ['etc 0:0 755', 'etc/app 0:0 755']],
  ])('%s is made if it is missing: %j', async (workingDir, expected) => {
    expect((await changes(workingDir)).map((line) => line.replace(/ (\d+:\d+) 2755$/, ' $1 755'))).toEqual(
      expected,
    );
  });

  it('appears in the mounted root file system, without files that the image has deleted', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { workingDir: '/srv/gone' });
    await using mount = await fixture.store.containers.mount(id);
    expect(readdirSync(join(mount.path, 'srv/gone'))).toEqual([]);
    expect(readdirSync(join(mount.path, 'srv')).sort()).toEqual(['gone', 'there', 'up']);
    expect(readlinkSync(join(mount.path, 'to-srv'))).toBe('/srv');
  });

  it.each(['/file', '/file/x', '/loop', '/loop/x', `/${'x'.repeat(300)}`, `/${'d/'.repeat(3000)}`])(
    '%s cannot be made, and no container is left',
    async (workingDir) => {
      const error = await rejection(fixture.store.containers.create(IMAGE, { workingDir }));
      expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
      expect(error.message).toMatch(/^Cannot mkdir: .* is not a directory$/);
      expect(readdirSync(fixture.at('containers'))).toEqual([]);
      expect(await fixture.store.containers.list()).toEqual([]);
    },
  );

  it('is not made outside of the container, whatever the links of the image say', async () => {
    const outside = join(fixture.scratch, 'outside');
    mkdirSync(outside);
    chownSync(outside, 0, 0);
    await fixture.store.containers.create(IMAGE, { workingDir: `/srv/up/../../../..${outside}/made` });
    expect(existsSync(join(outside, 'made'))).toBe(false);
  });
});
