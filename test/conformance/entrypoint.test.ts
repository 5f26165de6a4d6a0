/**
 * An entrypoint of one empty word counts as missing: containers made of such an image, or with such an
 * entrypoint, start in runc and in a dockerd on the root.
 */
import { join } from 'node:path';
import { expect, describe, it } from 'vitest';
import { decodeContainerConfig } from '../../src/image/container-config.ts';
import { busyboxLayer, archiveOfMembers, TestStore, IMAGE } from '../support/test-store.ts';
import { Dockerd } from '../support/dockerd.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';

const COMMAND = ['sh', '-c', 'echo started'];

describe.runIf(havePeers('dockerd', 'docker', 'runc'))('an entrypoint of one empty word', () => {
  it('is none for an image, a caller of the library, of the API, of the command, and after a commit', async () => {
    await using fixture = await TestStore.build(
      archiveOfMembers([busyboxLayer()], { Entrypoint: [''], Cmd: COMMAND, Env: ['PATH=/bin'] }),
    );
    const { store } = fixture;
    const given = decodeContainerConfig({ Entrypoint: [''], Cmd: COMMAND }, '');
    const { id: base } = await store.containers.create(IMAGE, { name: 'image' });
    await store.containers.create(IMAGE, { name: 'library', entrypoint: [''], command: COMMAND });
    await store.containers.create(IMAGE, { name: 'api', config: given });
    await new LayerstackCli(fixture.root).run(
      'create',
      '--name',
      'cli',
      '--entrypoint',
      '',
      IMAGE,
      ...COMMAND,
    );
    const changes = ['ENTRYPOINT ["/none"]', `CMD ${JSON.stringify(COMMAND)}`, 'ENTRYPOINT [""]'];
    const image = await store.containers.commit(base, { changes });
    await store.containers.create(image, { name: 'commit' });
    await store.containers.create(await store.containers.commit(base, { config: given }), { name: 'config' });

    const names = ['image', 'library', 'api', 'cli', 'commit', 'config'];
    for (const name of names) {
      const { path } = await store.containers.bundle(name, join(fixture.scratch, name));
      const id = `layerstack-${String(process.pid)}-${name}`;
      const args = ['--root', join(fixture.scratch, 'runc'), 'run', '--bundle', path, id];
      expect(await must('runc', args), name).toBe('started\n');
      await store.containers.unmount(name);
    }
    await store.close();
    const dockerd = await Dockerd.start(fixture.root);
    try {
      for (const name of names) expect(await dockerd.docker('start', '-a', name), name).toBe('started');
    } finally {
      await dockerd.stop();
    }
  });
});
