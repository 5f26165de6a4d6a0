import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeDirectories } from '../../../src/system/make-directories.ts';

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'layerstack-directories-'));
});
afterEach(() => rm(scratch, { recursive: true }));

it('makes missing directories with the mode, and leaves existing ones', async () => {
  const path = join(scratch, 'a/b/c');
  await makeDirectories(path, 0o700);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  await makeDirectories(path, 0o711);
  await makeDirectories(`${path}/../d/`, 0o700);
  expect((await stat(join(scratch, 'a/b/d'))).isDirectory()).toBe(true);
  await symlink('a', join(scratch, 'link'));
  await makeDirectories(join(scratch, 'link/e'), 0o700);
  expect((await stat(join(scratch, 'a/e'))).isDirectory()).toBe(true);
});

it('of several at once all succeed', async () => {
  const path = join(scratch, 'x/y/z');
  await Promise.all(Array.from({ length: 20 }, () => makeDirectories(path)));
  expect((await stat(path)).isDirectory()).toBe(true);
});

it.each(['file', 'file/below', 'file/below/deeper', 'dangling'])('fails at %s', async (path) => {
  await writeFile(join(scratch, 'file'), '');
  await symlink('nowhere/at/all', join(scratch, 'dangling'));
  await expect(makeDirectories(join(scratch, path))).rejects.toMatchObject({
    code: expect.stringMatching(/^(EEXIST|ENOTDIR|ENOENT)$/) as string,
  });
});

it('ends on a file system that answers mkdir with ENOENT', async () => {
  await expect(makeDirectories('/proc/nowhere/at/all')).rejects.toMatchObject({ code: 'ENOENT' });
});
