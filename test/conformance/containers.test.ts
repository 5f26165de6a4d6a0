/**
 * Containers between layerstack and dockerd: ours are listed, started and removed by dockerd; dockerd's are
 * listed, mounted and removed by us. Both use one store in turn.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busyboxLayer, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';
import { Dockerd } from '../support/dockerd.ts';
import { rejection } from '../support/errors.ts';
import { havePeers } from '../support/peers.ts';

describe.runIf(havePeers('dockerd', 'docker'))('a store that layerstack and dockerd use in turn', () => {
  let fixture: TestStore;
  let ours: string;
  let before: string[];

  /** The output of dockerd while it has the store. */
  async function withDockerd<T>(use: (daemon: Dockerd) => Promise<T>): Promise<T> {
    await fixture.store.close();
    const daemon = await Dockerd.start(fixture.root);
    try {
      return await use(daemon);
    } finally {
      await daemon.stop();
      await fixture.reopen();
    }
  }

  beforeAll(async () => {
    fixture = await TestStore.build(
      archiveOfMembers([...LAYERS, busyboxLayer()], {
        Cmd: ['cat', '/house/concrete', '/house/frame'],
        Env: ['PATH=/bin'],
        Labels: { trade: 'mason' },
      }),
    );
    before = readdirSync(fixture.at('overlay2')).sort();
    ({ id: ours } = await fixture.store.containers.create(IMAGE, { name: 'ours' }));
    await using mount = await fixture.store.containers.mount(ours);
    writeFileSync(join(mount.path, 'house/frame'), 'frame\n');
  });

  afterAll(async () => {
    await fixture[Symbol.asyncDispose]();
  });

  it('dockerd lists our container and starts it, with what was written in it', async () => {
    await withDockerd(async (daemon) => {
      const format = '{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Labels}}';
      expect(await daemon.docker('ps', '-a', '--no-trunc', '--format', format)).toBe(
        `${ours} ours ${IMAGE} "cat /house/concrete /house/frame" created trade=mason`,
      );
      expect(await daemon.docker('start', '-a', 'ours')).toBe('good concrete\nframe');
      expect(await daemon.docker('diff', 'ours')).toBe('C /house\nA /house/frame');
      await daemon.docker(
        'create',
        '--name',
        'theirs',
        '--network',
        'none',
        '-e',
        'X=1',
        IMAGE,
        'sh',
        '-c',
        'exit 7',
      );
      expect((await daemon.try('start', '-a', 'theirs')).status).toBe(7);
    });
  });

  it('layerstack lists, mounts and bundles the container of dockerd, and respects its name', async () => {
    const [theirs, first] = await fixture.store.containers.list();
    expect(theirs).toMatchObject({
      name: 'theirs',
      imageName: IMAGE,
      command: ['sh', '-c', 'exit 7'],
      state: 'exited',
      exitCode: 7,
    });
    expect(first).toMatchObject({ id: ours, state: 'exited', exitCode: 0 });
    expect((await rejection(fixture.store.containers.create(IMAGE, { name: 'theirs' }))).code).toBe(
      'ERR_CONTAINER_NAME_IN_USE',
    );
    const mount = await fixture.store.containers.mount('theirs');
    expect(readFileSync(join(mount.path, 'house/marble'), 'utf8')).toBe('marble\n');
    const { spec } = await fixture.store.containers.bundle('theirs', join(fixture.scratch, 'bundle'));
    expect(spec.process.env).toContain('X=1');
    await mount.unmount();
  });

  it('each removes a container of the other, and leaves nothing', async () => {
    await fixture.store.containers.remove('theirs');
    await withDockerd(async (daemon) => {
      expect(await daemon.docker('ps', '-aq', '--no-trunc')).toBe(ours);
      await daemon.docker('rm', 'ours');
    });
    expect(await fixture.store.containers.list()).toEqual([]);
    expect(readdirSync(fixture.at('overlay2')).sort()).toEqual(before);
    expect(readdirSync(fixture.at('containers'))).toEqual([]);
    expect(readdirSync(fixture.at('image/overlay2/layerdb/mounts'))).toEqual([]);
    await fixture.store.containers.create(IMAGE, { name: 'ours' });
    await fixture.store.containers.remove('ours');
  });
});
