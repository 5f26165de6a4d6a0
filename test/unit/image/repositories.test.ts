import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { digestOf, type ImageID } from '../../../src/core/digest.ts';
import { parseReference } from '../../../src/core/reference.ts';
import { Repositories } from '../../../src/image/repositories.ts';
import { testRoot } from './support.ts';

const A = digestOf('a') as ImageID;
const B = digestOf('b') as ImageID;

describe('the file of references', () => {
  it('is written with mode 0600, whatever the umask', async () => {
    const { root, path } = await testRoot();
    const umask = process.umask(0o777);
    try {
      await new Repositories(root).change((references) => references.set(parseReference('x:1'), A));
    } finally {
      process.umask(umask);
    }
    const file = `${path}/image/overlay2/repositories.json`;
    expect(await readFile(file, 'utf8')).toBe(`{"Repositories":{"x":{"x:1":"${A}"}}}`);
    expect((await stat(file)).mode & 0o7777).toBe(0o600);
  });

  it('is not touched by a change that changes nothing, nor by one that fails', async () => {
    const { root, path } = await testRoot();
    const repositories = new Repositories(root);
    const file = `${path}/image/overlay2/repositories.json`;
    await repositories.change((references) => references.set(parseReference('x:1'), A));
    const before = await stat(file, { bigint: true });
    await repositories.change((references) => references.set(parseReference('x:1'), A));
    await expect(
      repositories.change((references) => {
        references.set(parseReference('x:1'), B);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    const after = await stat(file, { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
    expect((await repositories.read()).get(parseReference('x:1'))).toBe(A);
  });

  it('keeps all changes that are made at once', async () => {
    const { root, path } = await testRoot();
    const { root: other } = await testRoot({ path });
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        new Repositories(i % 2 ? root : other).change((references) =>
          references.set(parseReference(`x:${i}`), A),
        ),
      ),
    );
    expect((await new Repositories(root).read()).byImage().get(A)).toHaveLength(40);
  });

  it('sees the changes of others', async () => {
    const { root, path } = await testRoot();
    const repositories = new Repositories(root);
    await repositories.change((references) => references.set(parseReference('x:1'), A));
    await writeFile(`${path}/image/overlay2/repositories.json`, `{"Repositories":{"y":{"y:1":"${B}"}}}`);
    await repositories.change((references) => references.set(parseReference('x:2'), A));
    expect(await readFile(`${path}/image/overlay2/repositories.json`, 'utf8')).toBe(
      `{"Repositories":{"x":{"x:2":"${A}"},"y":{"y:1":"${B}"}}}`,
    );
  });

  it('is asked for one name, and shows the change of another program at once', async () => {
    const { root, path } = await testRoot();
    const repositories = new Repositories(root);
    const file = `${path}/image/overlay2/repositories.json`;
    const written = (id: ImageID): Promise<void> => writeFile(file, `{"Repositories":{"x":{"x:1":"${id}"}}}`);
    await written(A);
    // The file now counts as old, so its content stays in memory.
    vi.useFakeTimers({ now: Date.now() + 60_000, toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    expect(await repositories.find(parseReference('x:1'))).toBe(A);
    expect(await repositories.find(parseReference('x:2'))).toBeUndefined();
    await rm(file);
    await written(B);
    expect(await repositories.find(parseReference('x:1'))).toBe(B);
    await repositories.change((references) => references.delete(parseReference('x:1')));
    expect(await repositories.find(parseReference('x:1'))).toBeUndefined();
  });

  it('is not read again for a name while it is unchanged', async () => {
    const { root, path } = await testRoot();
    const repositories = new Repositories(root);
    const file = `${path}/image/overlay2/repositories.json`;
    await writeFile(file, `{"Repositories":{"x":{"x:1":"${A}"}}}`);
    vi.useFakeTimers({ now: Date.now() + 60_000, toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const reads = vi.spyOn(root.changes, 'read');
    await repositories.find(parseReference('x:1'));
    await repositories.find(parseReference('x:1'));
    expect(reads.mock.calls.filter(([read]) => read === root.layout.repositories)).toHaveLength(1);
  });

  it('is never replaced while it is corrupt', async () => {
    const { root, path } = await testRoot();
    const file = `${path}/image/overlay2/repositories.json`;
    await writeFile(file, '');
    const repositories = new Repositories(root);
    await expect(repositories.read()).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT', path: file });
    await expect(
      repositories.change((references) => references.set(parseReference('x'), A)),
    ).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(await readFile(file, 'utf8')).toBe('');
  });

  it('can be read, but not changed, in a store that is open read-only', async () => {
    const { root } = await testRoot({ readOnly: true });
    const repositories = new Repositories(root);
    expect((await repositories.read()).byImage()).toEqual(new Map());
    await expect(repositories.change(() => 1)).rejects.toMatchObject({ code: 'ERR_STORE_READ_ONLY' });
  });

  it('is waited for only until the signal fires', async () => {
    const { root } = await testRoot();
    const lock = await root.locks.acquire('references', 'repositories.json');
    const change = new Repositories(root).change(() => 1, { signal: AbortSignal.timeout(30) });
    await expect(change).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    await lock.release();
    expect(await new Repositories(root).change(() => 1)).toBe(1);
  });
});
