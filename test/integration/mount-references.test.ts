import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { Container } from '../../src/container/record.ts';
import { native, type BatchStep } from '../../src/system/native.ts';
import { rejection } from '../support/errors.ts';
import { FAULTS } from '../support/interrupt.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { mountsBelow } from '../support/scratch.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;
let container: Container;

beforeEach(async () => {
  fixture = await TestStore.build();
  container = await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const merged = (): string => fixture.at(`overlay2/${container.mountId}/merged`);
const countFile = (): string => fixture.at(`layerstack/mounts/${container.mountId}.json`);
const isMounted = (): boolean => mountsBelow(merged()).length > 0;

/** Nothing mounted, nothing remembered. */
function expectGone(): void {
  expect(isMounted()).toBe(false);
  expect(existsSync(merged())).toBe(false);
  expect(existsSync(countFile())).toBe(false);
}

describe('a mounted container', () => {
  it('shows the upper layer first, and keeps what is written', async () => {
    const mount = await fixture.store.containers.mount(container);
    expect(mount).toMatchObject({ path: merged(), readOnly: false, containerId: container.id });
    expect(readFileSync(join(mount.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(readFileSync(join(mount.path, 'house/rebar'), 'utf8')).toBe('rebar\n');
    writeFileSync(join(mount.path, 'house/frame'), 'frame');
    unlinkSync(join(mount.path, 'house/marble'));
    const whiteout = lstatSync(fixture.at(`overlay2/${container.mountId}/diff/house/marble`));
    expect([whiteout.isCharacterDevice(), whiteout.rdev]).toEqual([true, 0]);
    await mount.unmount();
    expectGone();
    await using again = await fixture.store.containers.mount('build');
    expect(readFileSync(join(again.path, 'house/frame'), 'utf8')).toBe('frame');
    expect(existsSync(join(again.path, 'house/marble'))).toBe(false);
  });

  it('keeps the modes of dockerd', async () => {
    await using mount = await fixture.store.containers.mount(container);
    expect((lstatSync(mount.path).mode & 0o7777).toString(8)).toBe('755');
    expect((lstatSync(fixture.at(`overlay2/${container.mountId}/work/work`)).mode & 0o7777).toString(8)).toBe(
      '0',
    );
  });

  it('can be mounted read-only', async () => {
    const mount = await fixture.store.containers.mount(container, { readOnly: true });
    expect(mount.readOnly).toBe(true);
    expect(() => {
      writeFileSync(join(mount.path, 'x'), '');
    }).toThrow('EROFS');
    expect((await rejection(fixture.store.containers.mount(container))).code).toBe('ERR_CONTAINER_MOUNTED');
    const second = await fixture.store.containers.mount(container, { readOnly: true });
    await mount.unmount();
    expect(isMounted()).toBe(true);
    await second.unmount();
    expectGone();
  });

  it('refuses to be mounted through a store that is open read-only', async () => {
    await using reader = await Layerstack.open({ root: fixture.root, readOnly: true });
    expect((await rejection(reader.containers.mount('build'))).code).toBe('ERR_STORE_READ_ONLY');
  });
});

describe('the uses of a mount', () => {
  it('are counted: the last one unmounts', async () => {
    const mounts = await Promise.all([1, 2, 3].map(() => fixture.store.containers.mount(container)));
    expect(mountsBelow(merged())).toEqual([merged()]);
    for (const mount of mounts) {
      expect(isMounted()).toBe(true);
      await mount.unmount();
      await mount.unmount();
    }
    expectGone();
  });

  it('are counted across processes, and outlive them', async () => {
    const cli = new LayerstackCli(fixture.root);
    expect(await cli.run('mount', 'build')).toBe(merged());
    const mount = await fixture.store.containers.mount(container);
    expect(await cli.run('mount', 'build')).toBe(merged());
    expect(JSON.parse(readFileSync(countFile(), 'utf8'))).toMatchObject({ count: 3 });
    expect(await fixture.store.containers.unmount(container)).toBe(2);
    await cli.run('unmount', 'build');
    expect(isMounted()).toBe(true);
    await mount.unmount();
    expectGone();
  });

  it('all go by force', async () => {
    await fixture.store.containers.mount(container);
    await fixture.store.containers.mount(container);
    expect(await fixture.store.containers.unmount(container, { force: true })).toBe(0);
    expectGone();
  });

  it('are none where nothing is mounted', async () => {
    expect(await fixture.store.containers.unmount(container)).toBe(0);
    expectGone();
  });

  it('survive closing the store', async () => {
    await fixture.store.containers.mount(container);
    await fixture.reopen();
    expect(await fixture.store.containers.isMounted('build')).toBe(true);
    expect(await fixture.store.containers.unmount('build')).toBe(0);
    expectGone();
  });
});

describe('after a crash or reboot', () => {
  it('a count of another boot is none', async () => {
    await fixture.store.containers.mount(container);
    await fixture.store.containers.mount(container);
    execFileSync('umount', [merged()]);
    writeFileSync(
      countFile(),
      readFileSync(countFile(), 'utf8').replace(/"bootId":"."/, '"bootId":"another"'),
    );
    expect(existsSync(merged())).toBe(true);
    const mount = await fixture.store.containers.mount(container);
    expect(JSON.parse(readFileSync(countFile(), 'utf8'))).toMatchObject({ count: 1 });
    await mount.unmount();
    expectGone();
  });

  it('a count beside a mount that is gone starts again', async () => {
    await fixture.store.containers.mount(container);
    await fixture.store.containers.mount(container);
    execFileSync('umount', [merged()]);
    expect(await fixture.store.containers.isMounted(container)).toBe(false);
    const mount = await fixture.store.containers.mount(container);
    await mount.unmount();
    expectGone();
  });

  it('unmounting what is gone tidies up', async () => {
    await fixture.store.containers.mount(container);
    await fixture.store.containers.mount(container);
    execFileSync('umount', [merged()]);
    expect(await fixture.store.containers.unmount(container)).toBe(0);
    expectGone();
  });

  it.each(['', 'garbage', 'null', '{"count":"x"}'])(
    'a mount with the count %j counts as one',
    async (text) => {
      await fixture.store.containers.mount(container);
      writeFileSync(countFile(), text);
      expect(await fixture.store.containers.unmount(container)).toBe(0);
      expectGone();
    },
  );

  it('a mount without a count (dockerd’s, say) counts as one', async () => {
    await fixture.store.containers.mount(container);
    rmSync(countFile());
    const mount = await fixture.store.containers.mount(container);
    expect(JSON.parse(readFileSync(countFile(), 'utf8'))).toMatchObject({ count: 2 });
    await mount.unmount();
    expect(isMounted()).toBe(true);
    await fixture.store.containers.unmount(container);
    expectGone();
  });

  describe('a use that a writer died with', () => {
    const token = '0123456789abcdef';

    /** A dead session that was taking, holding or giving back a use. */
    const die = (): void => {
      mkdirSync(fixture.at('layerstack/sessions/dead'));
      for (const name of ['lock', `held.${container.id}.${token}`])
        writeFileSync(fixture.at(`layerstack/sessions/dead/${name}`), '');
    };
    const count = (): unknown => JSON.parse(readFileSync(countFile(), 'utf8'));
    /** Has the count say so much. */
    const recount = (change: object): void => {
      writeFileSync(countFile(), JSON.stringify({ ...(count() as object), ...change }));
    };

    it('is given back, and others stay', async () => {
      await fixture.store.containers.mount(container);
      recount({ count: 2, held: [token] });
      die();
      await fixture.reopen();
      expect(count()).toMatchObject({ count: 1 });
      expect(isMounted()).toBe(true);
      expect(await fixture.store.containers.unmount('build')).toBe(0);
      expectGone();
    });

    it('unmounts where it was the last', async () => {
      await fixture.store.containers.mount(container);
      recount({ count: 1, held: [token] });
      die();
      await fixture.reopen();
      expectGone();
    });

    it('takes no other’s place where it was not taken yet, or is given back already', async () => {
      await fixture.store.containers.mount(container);
      writeFileSync(`${countFile()}.new`, 'half written');
      die();
      await fixture.reopen();
      expect(count()).toMatchObject({ count: 1 });
      expect(existsSync(`${countFile()}.new`)).toBe(false);
      expect(isMounted()).toBe(true);
      await fixture.store.containers.unmount('build');
      expectGone();
    });

    it('leaves nothing where it was begun before the mount, or ended after it', async () => {
      mkdirSync(merged(), { mode: 0o700 });
      die();
      await fixture.reopen();
      expectGone();
    });

    it('stays marked while somebody works in it', async () => {
      await fixture.store.containers.mount(container);
      recount({ count: 1, held: [token] });
      die();
      const child = spawn('sleep', ['60'], { cwd: merged() });
      await fixture.reopen();
      expect(isMounted()).toBe(true);
      child.kill();
      await once(child, 'exit');
      await fixture.reopen();
      expectGone();
      expect(existsSync(fixture.at('layerstack/sessions/dead'))).toBe(false);
    });
  });

  it('an operation gives back its own use only, whatever others force meanwhile', async () => {
    const { tar } = await fixture.store.containers.getArchive('build', '/house');
    await fixture.store.containers.unmount('build', { force: true });
    await fixture.store.containers.mount('build');
    tar.destroy();
    await once(tar, 'close');
    await fixture.store.containers.diff('build');
    expect(isMounted()).toBe(true);
    expect(await fixture.store.containers.unmount('build')).toBe(0);
    expectGone();
  });

  it('operations at once end their mount and their marks, even if a caller gives back more uses than it took', async () => {
    const sessions = (): string[] =>
      readdirSync(fixture.at('layerstack/sessions'), { recursive: true }) as string[];
    const before = sessions();
    const [first, second] = await Promise.all([
      fixture.store.containers.getArchive(container, '/'),
      fixture.store.containers.getArchive(container, '/'),
    ]);
    expect(await fixture.store.containers.unmount(container)).toBe(1);
    for (const { tar } of [first, second]) {
      tar.destroy();
      await once(tar, 'close');
    }
    await expect.poll(sessions).toEqual(before);
    expectGone();
  });

  it('left-over merged and work directories are used again', async () => {
    mkdirSync(merged(), { mode: 0o700 });
    mkdirSync(fixture.at(`overlay2/${container.mountId}/work/work/left/over`), { recursive: true });
    const mount = await fixture.store.containers.mount(container);
    expect(readFileSync(join(mount.path, 'house/marble'), 'utf8')).toBe('marble\n');
    await mount.unmount();
    expectGone();
  });
});

describe('trouble', () => {
  it('a mount in use stays, unless forced', async () => {
    const mount = await fixture.store.containers.mount(container);
    const child = spawn('sleep', ['60'], { cwd: mount.path });
    try {
      const error = await rejection(mount.unmount());
      expect(error).toMatchObject({ code: 'ERR_CONTAINER_MOUNTED', path: merged() });
      expect(isMounted()).toBe(true);
      expect(await fixture.store.containers.unmount(container, { force: true })).toBe(0);
      expectGone();
    } finally {
      child.kill();
      await once(child, 'exit');
    }
  });

  it('an unmount that failed can be tried again', async () => {
    const mount = await fixture.store.containers.mount(container);
    const child = spawn('sleep', ['60'], { cwd: mount.path });
    await rejection(mount.unmount());
    child.kill();
    await once(child, 'exit');
    await mount.unmount();
    expectGone();
  });

  it('a missing layer is named', async () => {
    const { GraphDriver } = await fixture.store.images.inspect(IMAGE);
    const top = GraphDriver.Data?.['UpperDir'] ?? '';
    rmSync(top, { recursive: true });
    const error = await rejection(fixture.store.containers.mount(container));
    expect(error.code).toBe('ERR_STORE_CORRUPT');
    expect(error.message).toContain('is missing');
    expectGone();
  });

  /** The kernel unmounts nothing while `work` is done. */
  async function withoutUnmounting(work: () => Promise<void>): Promise<void> {
    const { batch } = native;
    vi.spyOn(native, 'batch').mockImplementation(async (root: string, steps: readonly BatchStep[]) => {
      const at = steps.findIndex(({ op }) => op === 'unmount');
      await batch(root, at < 0 ? steps : steps.slice(0, at));
      if (at >= 0) throw FAULTS.EIO;
    });
    try {
      await work();
    } finally {
      vi.restoreAllMocks();
    }
  }

  it('a mount of an operation that cannot be unmounted is given back by the next writer', async () => {
    for (const operation of [
      () => fixture.store.containers.statPath(container, '/house'),
      async () => {
        const { tar } = await fixture.store.containers.getArchive(container, '/house');
        for await (const chunk of tar) void chunk;
      },
      async () => {
        for await (const chunk of fixture.store.containers.export(container)) void chunk;
      },
    ]) {
      await withoutUnmounting(async () => {
        await operation();
        expect(isMounted()).toBe(true);
        await fixture.store.close();
      });
      await fixture.reopen();
      expectGone();
    }
  });

  it('a mount that its user cannot unmount stays his', async () => {
    await fixture.store.containers.mount(container);
    await withoutUnmounting(async () => {
      await expect(fixture.store.containers.unmount(container)).rejects.toMatchObject({ code: 'EIO' });
      await fixture.store.close();
    });
    await fixture.reopen();
    expect(isMounted()).toBe(true);
    expect(await fixture.store.containers.unmount(container)).toBe(0);
    expectGone();
  });

  it('something else mounted there is not touched', async () => {
    mkdirSync(merged());
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', merged()]);
    for (const call of [
      fixture.store.containers.mount(container),
      fixture.store.containers.remove(container),
    ])
      expect((await rejection(call)).code).toBe('ERR_STORE_CORRUPT');
    expect(isMounted()).toBe(true);
    execFileSync('umount', [merged()]);
  });
});

describe.each(['fsconfig', 'mount', 'flat'])('mounted by %s', (method) => {
  beforeEach(async () => {
    process.env['LAYERSTACK_CAPS'] = `mount=${method}`;
    await fixture.reopen();
  });
  afterEach(() => {
    delete process.env['LAYERSTACK_CAPS'];
  });

  it('mounts, writes, unmounts, mounts again', async () => {
    const other = await fixture.store.containers.create(IMAGE);
    for (const each of [container, other, container]) {
      await using mount = await fixture.store.containers.mount(each);
      expect(readFileSync(join(mount.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
      expect(readFileSync(join(mount.path, 'etc/hosts'), 'utf8')).toBe('');
      expect(existsSync(join(mount.path, '.dockerenv'))).toBe(true);
      rmSync(join(mount.path, 'house/marble'), { force: true });
      expect(existsSync(join(mount.path, 'house/marble'))).toBe(false);
    }
    await using fresh = await fixture.store.containers.mount(await fixture.store.containers.create(IMAGE));
    expect(existsSync(join(fresh.path, 'house/marble'))).toBe(true);
  });
});
