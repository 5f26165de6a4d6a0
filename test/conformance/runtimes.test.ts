/** Bundles in a runtime: they start, and their process sees the right things. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Bundle } from '../../src/container/bundle.ts';
import { busyboxLayer, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build(
    archiveOfMembers([...LAYERS, busyboxLayer()], {
      Cmd: ['sh', '-c', 'id -u; id -g; id -G; pwd; hostname; cat concrete; env'],
      Env: ['PATH=/bin', 'TRADE=mason'],
      User: 'mason',
      WorkingDir: '/house',
    }),
  );
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

const bundleOf = async (
  options: Parameters<TestStore['store']['containers']['bundle']>[2] = {},
): Promise<Bundle> => {
  const { id } = await fixture.store.containers.create(IMAGE, { hostname: 'site' });
  return fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle'), options);
};

/** Runs a bundle with runc, in a state directory of the test's own. */
async function runc(bundle: Bundle): Promise<string> {
  const name = `layerstack-test-${process.pid}-${Date.now()}`;
  const ran = await run('runc', [
    '--root',
    join(fixture.scratch, 'runc'),
    'run',
    '--bundle',
    bundle.path,
    name,
  ]);
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout;
}

describe.runIf(havePeers('runc'))('runc', () => {
  it('starts it as the user, in the directory, with the environment of the image', async () => {
    const lines = (await runc(await bundleOf())).trim().split('\n');
    expect(lines.slice(0, 6)).toEqual(['1000', '100', '100 2000', '/house', 'site', 'good concrete']);
    expect(lines).toContain('TRADE=mason');
    expect(lines).toContain('HOME=/home/mason');
    expect(lines).toContain('HOSTNAME=site');
  });

  it('starts it with the overrides of the caller', async () => {
    const bundle = await bundleOf({
      command: ['/bin/sh', '-c', 'id -u; pwd; echo $TRADE $MORE; echo x > /house/frame; cat /house/frame'],
      user: '0:0',
      workingDir: '/new/dir',
      env: ['TRADE=roofer', 'MORE=1'],
    });
    expect(await runc(bundle)).toBe('0\n/new/dir\nroofer 1\nx\n');
  });

  it('has the image’s volumes as docker has them: filled, writable, and not in diff or commit', async () => {
    await fixture[Symbol.asyncDispose]();
    fixture = await TestStore.build(
      archiveOfMembers([...LAYERS, busyboxLayer()], {
        Env: ['PATH=/bin'],
        Volumes: { '/house': {}, '/new': {} },
      }),
    );
    const { id } = await fixture.store.containers.create(IMAGE, {
      command: [
        'sh',
        '-c',
        'cat /house/concrete; echo x >> /house/concrete; echo y > /new/file; echo z > /own; cat /new/file',
      ],
    });
    const start = () => fixture.store.containers.bundle(id, join(fixture.scratch, 'bundle')).then(runc);
    expect(await start()).toBe('good concrete\ny\n');
    expect(await start()).toBe('good concrete\nx\ny\n');
    expect(await fixture.store.containers.diff(id)).toEqual([
      { kind: 'A', path: '/new' },
      { kind: 'A', path: '/own' },
    ]);
    const mount = await fixture.store.containers.mount(
      await fixture.store.containers.create(await fixture.store.containers.commit(id)),
    );
    expect(readFileSync(join(mount.path, 'house/concrete'), 'utf8')).toBe('good concrete\n');
    expect(existsSync(join(mount.path, 'new/file'))).toBe(false);
  });

  it('keeps a read-only root file system read-only', async () => {
    const bundle = await bundleOf({
      readOnly: true,
      user: 'root',
      command: ['sh', '-c', 'echo x > /house/frame || echo refused'],
    });
    expect(await runc(bundle)).toBe('refused\n');
  });

  it('hides what docker hides, and drops its capabilities', async () => {
    const bundle = await bundleOf({
      user: 'root',
      command: [
        'sh',
        '-c',
        'cat /proc/kcore | cat; echo 1 > /proc/sys/kernel/panic || echo refused; cat /proc/self/status',
      ],
    });
    const output = await runc(bundle);
    expect(output).toContain('refused');
    expect(/^CapEff:\s*(\w+)$/m.exec(output)?.[1]).toBe('00000000a80425fb');
    expect(/^CapInh:\s*(\w+)$/m.exec(output)?.[1]).toBe('0000000000000000');
  });
});

describe.runIf(havePeers('crun'))('crun', () => {
  it('starts it', async () => {
    const bundle = await bundleOf({ command: ['/bin/cat', '/house/concrete'] });
    const args = [
      '--root',
      join(fixture.scratch, 'crun'),
      'run',
      '--bundle',
      bundle.path,
      `layerstack-${process.pid}`,
    ];
    const ran = await run('crun', args);
    if (ran.stderr.includes('hybrid mode')) {
      // crun runs nothing on a host with both kinds of cgroups; give it one kind, and no device rules, which
      // need CAP_SYS_RESOURCE there.
      const path = join(bundle.path, 'config.json');
      const spec = JSON.parse(readFileSync(path, 'utf8')) as { linux: { resources: unknown } };
      spec.linux.resources = {};
      writeFileSync(path, JSON.stringify(spec));
      const script = 'umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec crun "$@"';
      const output = execFileSync('unshare', ['--mount', 'sh', '-c', script, 'crun', ...args], {
        encoding: 'utf8',
      });
      expect(output).toBe('good concrete\n');
    } else {
      expect(ran.stderr).toBe('');
      expect(ran.stdout).toBe('good concrete\n');
    }
  });
});
