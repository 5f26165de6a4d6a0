import { execFile } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { Container } from '../../src/container/record.ts';
import { CLI } from '../support/layerstack-cli.ts';
import { rejection } from '../support/errors.ts';
import { chunks, archiveOfMembers, TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build();
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const mode = (path: string): string => {
  const stat = lstatSync(fixture.at(path));
  return `${stat.isDirectory() ? 'd' : stat.isSymbolicLink() ? 'l' : '-'}${(stat.mode & 0o7777).toString(8)}`;
};

/** Every directory entry that belongs to containers; empty when nothing is left of any. */
function traces(): string[] {
  const layers = new Set(
    readdirSync(fixture.at('image/overlay2/layerdb/sha256')).map((name) =>
      fixture.text(`image/overlay2/layerdb/sha256/${name}/cache-id`),
    ),
  );
  const links = readdirSync(fixture.at('overlay2/l')).filter(
    (link) => !layers.has(readlinkSync(fixture.at(`overlay2/l/${link}`)).split('/')[1] ?? ''),
  );
  return [
    ...readdirSync(fixture.at('overlay2')).filter((name) => name !== 'l' && !layers.has(name)),
    ...links,
    ...readdirSync(fixture.at('containers')),
    ...readdirSync(fixture.at('image/overlay2/layerdb/mounts')),
    ...readdirSync(fixture.at('layerstack/mounts')),
    ...readdirSync(fixture.at('layerstack/names')).filter((name) => name !== '.stamp'),
    ...readdirSync(fixture.at('layerstack/sessions')).flatMap((session) =>
      readdirSync(fixture.at(`layerstack/sessions/${session}`)).filter((file) => file !== 'lock'),
    ),
  ];
}

describe('create', () => {
  it('leaves what dockerd leaves: names, modes and contents of every file', async () => {
    const container = await fixture.store.containers.create(IMAGE, { name: 'build' });
    const { id, mountId } = container;
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(mountId).toMatch(/^[0-9a-f]{64}$/);
    expect(container.initId).toBe(`${mountId}-init`);

    const mounts = `image/overlay2/layerdb/mounts/${id}`;
    expect(readdirSync(fixture.at(mounts)).sort()).toEqual(['init-id', 'mount-id', 'parent']);
    expect(fixture.text(`${mounts}/mount-id`)).toBe(mountId);
    expect(fixture.text(`${mounts}/init-id`)).toBe(`${mountId}-init`);
    expect(fixture.text(`${mounts}/parent`)).toBe(container.parent);

    const layer = fixture.text(`image/overlay2/layerdb/sha256/${String(container.parent).slice(7)}/cache-id`);
    const link = (overlay: string): string => fixture.text(`overlay2/${overlay}/link`);
    expect(fixture.text(`overlay2/${mountId}-init/lower`)).toBe(
      `l/${link(layer)}:${fixture.text(`overlay2/${layer}/lower`)}`,
    );
    expect(fixture.text(`overlay2/${mountId}/lower`)).toBe(
      `l/${link(`${mountId}-init`)}:${fixture.text(`overlay2/${mountId}-init/lower`)}`,
    );
    expect(fixture.text(`overlay2/${layer}/committed`)).toBe('');
    for (const overlay of [mountId, `${mountId}-init`]) {
      expect(readlinkSync(fixture.at(`overlay2/l/${link(overlay)}`))).toBe(`../${overlay}/diff`);
      expect(mode(`overlay2/${overlay}`)).toBe('d710');
      expect(mode(`overlay2/${overlay}/diff`)).toBe('d755');
      expect(mode(`overlay2/${overlay}/work`)).toBe('d700');
      expect(mode(`overlay2/${overlay}/link`)).toBe('-644');
      expect(mode(`overlay2/${overlay}/lower`)).toBe('-644');
    }
    expect(readdirSync(fixture.at(`overlay2/${mountId}`)).sort()).toEqual(['diff', 'link', 'lower', 'work']);
    expect(readdirSync(fixture.at(`overlay2/${mountId}-init`)).sort()).toEqual([
      'committed',
      'diff',
      'link',
      'lower',
      'work',
    ]);
    expect(readdirSync(fixture.at(`overlay2/${mountId}-init/diff`)).sort()).toEqual([
      '.dockerenv',
      'dev',
      'etc',
      'proc',
      'sys',
    ]);
    expect(mode(`${mounts}/mount-id`)).toBe('-644');
    expect(mode(`containers/${id}`)).toBe('d710');
    expect(mode(`containers/${id}/config.v2.json`)).toBe('-600');
    expect(mode(`containers/${id}/hostconfig.json`)).toBe('-644');
    expect(readdirSync(fixture.at(`containers/${id}`)).sort()).toEqual(['config.v2.json', 'hostconfig.json']);
  });

  it("does not depend on the process's umask", async () => {
    const before = process.umask(0o777);
    try {
      const { id, mountId } = await fixture.store.containers.create(IMAGE);
      expect(mode(`overlay2/${mountId}/diff`)).toBe('d755');
      expect(mode(`containers/${id}/hostconfig.json`)).toBe('-644');
    } finally {
      process.umask(before);
    }
  });

  it('generates a name in Docker’s form', async () => {
    const names = await Promise.all(
      Array.from({ length: 20 }, async () => (await fixture.store.containers.create(IMAGE)).name),
    );
    for (const name of names) expect(name).toMatch(/^[a-z]+_[a-z]+[0-9]?$/);
    expect(new Set(names).size).toBe(20);
  });

  it('keeps the caller’s settings', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, {
      name: 'own',
      command: ['/bin/sh', '-c', 'echo <&>'],
      env: ['A=1'],
      user: 'mason',
      labels: { trade: 'mason' },
    });
    await fixture.reopen();
    const container = await fixture.store.containers.get(id);
    expect(container).toMatchObject({
      name: 'own',
      imageName: IMAGE,
      command: ['/bin/sh', '-c', 'echo <&>'],
      config: { Env: ['A=1'], User: 'mason', Labels: new Map([['trade', 'mason']]) },
      state: 'created',
    });
  });

  it('works on an image without layers', async () => {
    const { store } = fixture;
    await store.images.load(chunks(archiveOfMembers([], {}, 'empty:1')));
    const container = await store.containers.create('empty:1');
    expect(container.parent).toBeUndefined();
    await using mount = await store.containers.mount(container);
    expect(readdirSync(mount.path).sort()).toEqual(['.dockerenv', 'dev', 'etc', 'proc', 'sys']);
  });

  it('refuses unknown images, bad names and a store open read-only', async () => {
    expect((await rejection(fixture.store.containers.create('nope:1'))).code).toBe('ERR_IMAGE_NOT_FOUND');
    expect((await rejection(fixture.store.containers.create(IMAGE, { name: '../x' }))).code).toBe(
      'ERR_INVALID_ARGUMENT',
    );
    await using reader = await Layerstack.open({ root: fixture.root, readOnly: true });
    expect((await rejection(reader.containers.create(IMAGE))).code).toBe('ERR_STORE_READ_ONLY');
    expect(traces()).toEqual([]);
  });

  it('removes what it made if it fails', async () => {
    const { GraphDriver } = await fixture.store.images.inspect(IMAGE);
    const top = GraphDriver.Data?.['UpperDir'] ?? '';
    // A link where the store keeps a directory: looking the layer up fails after the init layer was made.
    rmSync(top, { recursive: true });
    symlinkSync('nowhere', top);
    await expect(fixture.store.containers.create(IMAGE, { name: 'build' })).rejects.toThrow();
    expect(traces()).toEqual([]);
  });

  it('is aborted by a signal that has fired', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    expect((await rejection(fixture.store.containers.create(IMAGE, { signal }))).code).toBe('ERR_ABORTED');
    expect(traces()).toEqual([]);
  });
});

describe('names', () => {
  it('are unique', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'build' });
    const error = await rejection(fixture.store.containers.create(IMAGE, { name: 'build' }));
    expect(error).toMatchObject({ code: 'ERR_CONTAINER_NAME_IN_USE', kind: 'conflict', id });
    expect(readdirSync(fixture.at('containers'))).toEqual([id]);
    expect(readdirSync(fixture.at('image/overlay2/layerdb/mounts'))).toEqual([id]);
  });

  it('go to one of many concurrent creations, in this process and in others', async () => {
    const cli = () =>
      promisify(execFile)(process.execPath, [
        CLI,
        '--root',
        fixture.root,
        'create',
        '--name',
        'build',
        IMAGE,
      ]);
    const results = await Promise.allSettled([
      cli(),
      cli(),
      ...Array.from({ length: 8 }, () => fixture.store.containers.create(IMAGE, { name: 'build' })),
    ]);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(readdirSync(fixture.at('containers'))).toHaveLength(1);
    expect(readdirSync(fixture.at('image/overlay2/layerdb/mounts'))).toHaveLength(1);
  });

  it('are free again after removal', async () => {
    await fixture.store.containers.remove(await fixture.store.containers.create(IMAGE, { name: 'build' }));
    await fixture.store.containers.create(IMAGE, { name: 'build' });
  });

  it('are free if the index names a missing container', async () => {
    await fixture.store.containers.create(IMAGE);
    symlinkSync('e'.repeat(64), fixture.at('layerstack/names/build'));
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'build' });
    expect(readlinkSync(fixture.at('layerstack/names/build'))).toBe(id);
  });

  it('of containers that dockerd made or renamed are found and respected', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'first' });
    await fixture.store.close();
    const path = `containers/${id}/config.v2.json`;
    writeFileSync(fixture.at(path), fixture.text(path).replace('"Name":"/first"', '"Name":"/renamed"'));
    // What every start of dockerd does:
    writeFileSync(fixture.at('volumes/metadata.db'), 'bolt');
    await fixture.reopen();
    expect((await fixture.store.containers.get('renamed')).id).toBe(id);
    expect((await rejection(fixture.store.containers.get('first'))).code).toBe('ERR_CONTAINER_NOT_FOUND');
    expect((await rejection(fixture.store.containers.create(IMAGE, { name: 'renamed' }))).code).toBe(
      'ERR_CONTAINER_NAME_IN_USE',
    );
    await fixture.store.containers.create(IMAGE, { name: 'first' });
  });

  it('survive the loss of the index', async () => {
    await fixture.store.containers.create(IMAGE, { name: 'build' });
    await fixture.store.close();
    rmSync(fixture.at('layerstack'), { recursive: true });
    await fixture.reopen();
    expect((await fixture.store.containers.get('build')).name).toBe('build');
    expect((await rejection(fixture.store.containers.create(IMAGE, { name: 'build' }))).code).toBe(
      'ERR_CONTAINER_NAME_IN_USE',
    );
  });
});

describe('finding', () => {
  it('takes ids, beginnings of ids and names, with or without slash', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, { name: 'build' });
    for (const ref of [id, id.slice(0, 12), id.slice(0, 1), 'build', '/build'])
      expect((await fixture.store.containers.get(ref)).id).toBe(id);
    for (const ref of ['other', 'f'.repeat(64), '', '../x'])
      expect((await rejection(fixture.store.containers.get(ref))).code).toBe('ERR_CONTAINER_NOT_FOUND');
  });

  it('prefers a name to the beginning of an id, and refuses an ambiguous beginning', async () => {
    const made: Container[] = [];
    // 17 ids: two begin with the same digit.
    for (let i = 0; i < 17; i++) made.push(await fixture.store.containers.create(IMAGE));
    const digits = made.map(({ id }) => id.charAt(0));
    const digit = digits.find((each, index) => digits.indexOf(each) !== index) ?? '';
    expect((await rejection(fixture.store.containers.get(digit))).code).toBe('ERR_ID_AMBIGUOUS');
    const prefix = made[0]?.id.slice(0, 4) ?? '';
    const named = await fixture.store.containers.create(IMAGE, { name: prefix });
    expect((await fixture.store.containers.get(prefix)).id).toBe(named.id);
  });

  it('lists the newest first, and skips incomplete containers', async () => {
    const a = await fixture.store.containers.create(IMAGE, { name: 'aa' });
    await new Promise((resolve) => setTimeout(resolve, 5));
    const b = await fixture.store.containers.create(IMAGE, { name: 'bb' });
    mkdirSync(fixture.at(`containers/${'d'.repeat(64)}`));
    mkdirSync(fixture.at(`containers/${'e'.repeat(64)}`));
    writeFileSync(
      fixture.at(`containers/${'e'.repeat(64)}/config.v2.json`),
      fixture.text(`containers/${a.id}/config.v2.json`),
    );
    expect((await fixture.store.containers.list()).map(({ id }) => id)).toEqual([b.id, a.id]);
  });
});

describe('remove', () => {
  it('leaves nothing', async () => {
    const container = await fixture.store.containers.create(IMAGE, { name: 'build' });
    {
      await using mount = await fixture.store.containers.mount(container);
      writeFileSync(join(mount.path, 'frame'), 'frame');
      mkdirSync(join(mount.path, 'deep/er'), { recursive: true });
    }
    await fixture.store.containers.remove('build');
    expect(await fixture.store.containers.list()).toEqual([]);
    await fixture.store.close();
    expect(traces()).toEqual([]);
  });

  it('refuses a mounted container, unless forced', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    const mount = await fixture.store.containers.mount(container);
    await fixture.store.containers.mount(container);
    expect((await rejection(fixture.store.containers.remove(container))).code).toBe('ERR_CONTAINER_MOUNTED');
    expect(existsSync(join(mount.path, 'house'))).toBe(true);
    await fixture.store.containers.remove(container, { force: true });
    await fixture.store.close();
    expect(traces()).toEqual([]);
  });

  it('does nothing for a removed container', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    await Promise.all([
      fixture.store.containers.remove(container),
      fixture.store.containers.remove(container),
    ]);
    await fixture.store.containers.remove(container);
    expect((await rejection(fixture.store.containers.remove(container.id))).code).toBe(
      'ERR_CONTAINER_NOT_FOUND',
    );
  });

  it('removes the rest of a damaged container', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    rmSync(fixture.at(`overlay2/${container.mountId}`), { recursive: true });
    await fixture.store.containers.remove(container);
    await fixture.store.close();
    rmSync(fixture.at(`overlay2/l`), { recursive: true });
    mkdirSync(fixture.at('overlay2/l'));
    expect(traces()).toEqual([]);
  });
});

describe('a process that dies', () => {
  /** Runs `script` on the store in a process that then kills itself. */
  async function dieWhile(script: string): Promise<void> {
    await fixture.store.close();
    const source = new URL('../../dist/', import.meta.url).href;
    const program = `
      const { Layerstack } = await import('${source}index.js');
      const { native } = await import('${source}system/native.js');
      const store = await Layerstack.open({ root: ${JSON.stringify(fixture.root)} });
      const die = () => { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}); };
      const dieBefore = (op) => {
        const batch = native.batch;
        native.batch = async (root, steps) => {
          const at = steps.findIndex((step) => step.op === op);
          if (at < 0) return batch(root, steps);
          await batch(root, steps.slice(0, at));
          return die();
        };
      };
      ${script}`;
    const ended = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]).then(
      () => 'by itself',
      (error: { signal: string; stderr: string }) => error.signal || error.stderr,
    );
    expect(ended).toBe('SIGKILL');
    await fixture.reopen();
  }

  it('before the init layer is filled leaves nothing once the store is opened again', async () => {
    await dieWhile(`
      const batch = native.batch;
      native.batch = async (root, steps) => {
        const at = steps.findIndex((step) => step.op === 'together');
        if (at < 0) return batch(root, steps);
        const { first } = steps[at];
        const filled = first.findIndex((step) => step.op === 'populateInit');
        await batch(root, [...steps.slice(0, at), ...first.slice(0, filled)]);
        return die();
      };
      await store.containers.create('${IMAGE}', { name: 'build' });`);
    await fixture.store.containers.create(IMAGE, { name: 'build' });
    await fixture.store.containers.remove('build');
    await fixture.store.close();
    expect(traces()).toEqual([]);
  });

  it('after the atomic step of a removal leaves the removal to the next', async () => {
    await dieWhile(`
      await store.containers.create('${IMAGE}', { name: 'build' });
      dieBefore('removeTree');
      await store.containers.remove('build');
      await store.close();`);
    expect(await fixture.store.containers.list()).toEqual([]);
    await fixture.store.close();
    expect(traces()).toEqual([]);
  });

  it('in the middle of a removal leaves the removal to the next', async () => {
    await dieWhile(`
      const container = await store.containers.create('${IMAGE}', { name: 'build' });
      dieBefore('rmdir');
      await store.containers.remove(container);`);
    expect(await fixture.store.containers.list()).toEqual([]);
    await fixture.store.containers.create(IMAGE, { name: 'build' });
    await fixture.store.containers.remove('build');
    await fixture.store.close();
    expect(traces()).toEqual([]);
  });
});

describe('a setting that dockerd could not decode', () => {
  it.each<[object, string]>([
    [
      { hostConfig: { PortBindings: { '80/tcp': [{ HostPort: 8080 }] } } },
      'PortBindings["80/tcp"][0].HostPort',
    ],
    [{ hostConfig: { Memory: 1e9 + 0.5 } }, 'Memory is 1000000000.5'],
    [{ hostConfig: { BlkioWeight: 70000 } }, 'BlkioWeight is 70000'],
    [{ hostConfig: { Ulimits: [{ Hard: '5' }] } }, 'Ulimits[0].Hard'],
    [{ labels: { a: true } }, 'options.labels.a must be a string'],
    [{ user: 7 }, 'options.user must be a string'],
    [{ command: [['x']] }, 'options.command[0] must be a string'],
  ])('%j is refused by its path, and leaves nothing', async (options, place) => {
    const error = await rejection(fixture.store.containers.create(IMAGE, options as never));
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(error.message).toContain(place);
    expect(traces()).toEqual([]);
  });

  it('does not include whole numbers of any size, which are kept digit by digit', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, {
      hostConfig: {
        Ulimits: [{ Name: 'nofile', Hard: 9223372036854775807n, Soft: -1 }],
        PidsLimit: 9007199254740993n,
      },
    });
    const text = fixture.text(`containers/${id}/hostconfig.json`);
    expect(text).toContain('"Hard":9223372036854775807,"Soft":-1');
    expect(text).toContain('"PidsLimit":9007199254740993');
  });

  it('is found by fsck if it is in the store already', async () => {
    const { id } = await fixture.store.containers.create(IMAGE);
    const path = `containers/${id}/hostconfig.json`;
    writeFileSync(fixture.at(path), fixture.text(path).replace('"ShmSize":67108864', '"ShmSize":67108864.0'));
    const found = [];
    for await (const finding of fixture.store.fsck()) found.push(finding);
    expect(found).toMatchObject([
      { code: 'container-undecodable', severity: 'error', path, repaired: false },
    ]);
    expect(found[0]?.message).toContain('ShmSize is 67108864.0, not a whole number');
  });
});
