/** Containers to images: layer, config, history, names. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProgressEvent } from '../../src/core/progress.ts';
import { native } from '../../src/system/native.ts';
import { CAPABILITY } from '../support/edits.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { snapshot } from '../support/overlay.ts';
import { archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build(
    archiveOfMembers(LAYERS, { Env: ['PATH=/bin', 'A=b'], Cmd: ['sh'], Labels: { made: 'by hand' } }),
  );
  await fixture.store.containers.create(IMAGE, { name: 'build' });
});

afterEach(() => fixture[Symbol.asyncDispose]());

/** Works in the mounted container. */
async function inside(work: (path: string) => Promise<void> | void, name = 'build'): Promise<void> {
  await using mount = await fixture.store.containers.mount(name);
  await work(mount.path);
}

async function everything(path: string): Promise<void> {
  writeFileSync(join(path, 'house/concrete'), 'new concrete');
  rmSync(join(path, 'house/marble'));
  rmSync(join(path, 'etc'), { recursive: true });
  mkdirSync(join(path, 'etc'));
  writeFileSync(join(path, 'etc/only'), '');
  mkdirSync(join(path, 'var'), { mode: 0o1777 });
  writeFileSync(join(path, 'var/one'), 'shared');
  linkSync(join(path, 'var/one'), join(path, 'var/two'));
  chmodSync(join(path, 'var/one'), 0o4755);
  await native.setXattr(join(path, 'var/one'), 'security.capability', CAPABILITY);
  await native.setXattr(join(path, 'var'), 'user.colour', Buffer.from('blue'));
  await native.makeNode(join(path, 'var/fifo'), 0o010600, 0, 0);
  await native.makeNode(join(path, 'var/null'), 0o020666, 1, 3);
  utimesSync(join(path, 'var/two'), 1000.125, 1000.125);
}

const config = (id: string): Record<string, unknown> =>
  JSON.parse(fixture.text(`image/overlay2/imagedb/content/sha256/${id.slice(7)}`)) as Record<string, unknown>;

describe('commit', () => {
  test('makes an image whose containers look like the container', async () => {
    await inside(everything);
    const id = await fixture.store.containers.commit('build', { reference: 'built:2' });
    await fixture.store.containers.create('built:2', { name: 'copy' });
    const trees: string[][] = [];
    for (const name of ['build', 'copy'])
      await inside(async (path) => void trees.push(await snapshot(path)), name);
    // The init layer makes what a container needs in /etc anew, so its time is of its own.
    const stable = (lines: string[] = []): string[] =>
      lines.filter((line) => !line.startsWith('. ')).map((line) => line.replace(/^(etc \S+ \S+).*/, '$1'));
    const init = /^(etc\/(hosts|hostname|resolv.conf|mtab)|dev|proc|sys|\.dockerenv)/;
    const own = (lines: string[] = []): string[] => stable(lines).filter((line) => !init.test(line));
    expect(own(trees[1])).toEqual(own(trees[0]));
    expect(own(trees[0]).some((line) => line.startsWith('var/one mode=104755'))).toBe(true);
    expect(await fixture.store.containers.diff('copy')).toEqual([]);
    expect((await fixture.store.images.inspect(id)).RepoTags).toEqual(['built:2']);
  });

  test('works on a mounted container, and mounts nothing itself', async () => {
    await inside(async (path) => {
      writeFileSync(join(path, 'new'), 'x');
      const id = await fixture.store.containers.commit('build');
      expect((await fixture.store.images.inspect(id)).RootFS.Layers).toHaveLength(3);
      expect(await fixture.store.containers.isMounted('build')).toBe(true);
    });
    await fixture.store.containers.commit('build');
    expect(await fixture.store.containers.isMounted('build')).toBe(false);
  });

  test('writes the config that dockerd would write', async () => {
    await inside((path) => writeFileSync(join(path, 'new'), 'x'));
    const id = await fixture.store.containers.commit('build', {
      author: 'A <a@example.org>',
      message: 'why & how',
      changes: ['ENV C=$A/x', 'CMD ["run"]', 'EXPOSE 80', 'LABEL x=y', 'WORKDIR srv'],
      sourceDateEpoch: 1_700_000_000,
    });
    const container = await fixture.store.containers.get('build');
    const parent = await fixture.store.images.inspect(IMAGE);
    const image = await fixture.store.images.inspect(id);
    const layer = image.RootFS.Layers?.at(-1) ?? '';
    const ran =
      `{"Hostname":"${container.id.slice(0, 12)}","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,` +
      `"AttachStderr":true,"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["PATH=/bin","A=b"],"Cmd":["sh"],` +
      `"Image":"${IMAGE}","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"made":"by hand"}}`;
    const next = ran
      .replace('"AttachStderr":true', '"AttachStderr":true,"ExposedPorts":{"80/tcp":{}}')
      .replace('"A=b"', '"A=b","C=b/x"')
      .replace('["sh"]', '["run"]')
      .replace('"WorkingDir":""', '"WorkingDir":"/srv"')
      .replace('"by hand"', '"by hand","x":"y"');
    expect(fixture.text(`image/overlay2/imagedb/content/sha256/${id.slice(7)}`)).toBe(
      `{"architecture":"amd64","author":"A \\u003ca@example.org\\u003e","config":${next},"container":"${container.id}",` +
        `"container_config":${ran},"created":"2023-11-14T22:13:20Z","history":[{"created":"2023-11-14T22:13:20Z",` +
        `"author":"A \\u003ca@example.org\\u003e","created_by":"sh","comment":"why \\u0026 how"}],"os":"linux",` +
        `"rootfs":{"type":"layers","diff_ids":["${(parent.RootFS.Layers ?? []).join('","')}","${layer}"]}}`,
    );
    expect(image.Parent).toBe(parent.Id);
    expect(image.Comment).toBe('why & how');
  });

  test('of an unchanged container adds no layer', async () => {
    const id = await fixture.store.containers.commit('build', { changes: ['ENV X=1'] });
    const image = await fixture.store.images.inspect(id);
    expect(image.RootFS.Layers).toEqual((await fixture.store.images.inspect(IMAGE)).RootFS.Layers);
    expect(config(id)['history']).toMatchObject([{ empty_layer: true }]);
    expect(await storedLayers()).toBe(LAYERS.length);
  });

  test('gives the same image of the same container at the same SOURCE_DATE_EPOCH', async () => {
    await inside(everything);
    const first = await fixture.store.containers.commit('build', { sourceDateEpoch: 2000 });
    expect(await fixture.store.containers.commit('build', { sourceDateEpoch: 2000 })).toBe(first);
    expect(await fixture.store.containers.commit('build', { sourceDateEpoch: 2001 })).not.toBe(first);
  });

  test('stands on its own commit again', async () => {
    for (const round of [1, 2, 3]) {
      const name = `round${round}`;
      await fixture.store.containers.create(round === 1 ? IMAGE : `r:${round - 1}`, { name });
      await inside((path) => writeFileSync(join(path, name), ''), name);
      await fixture.store.containers.commit(name, { reference: `r:${round}` });
    }
    await fixture.store.containers.create('r:3', { name: 'last' });
    await inside((path) => {
      for (const name of ['round1', 'round2', 'round3'])
        expect(readFileSync(join(path, name), 'utf8')).toBe('');
    }, 'last');
  });

  test('does not mistake a file for a compressed one by its first bytes', async () => {
    // The first bytes of a tar are a name, and names sort: these come first.
    for (const name of ['\x01', '\x1f\x8b\x08', 'BZh91AY&SY']) {
      const path = Buffer.concat([Buffer.from('new/'), Buffer.from(name, 'latin1')]);
      const container = `named${name.length}`;
      await fixture.store.containers.create(IMAGE, { name: container });
      await inside((root) => {
        mkdirSync(join(root, 'new'));
        writeFileSync(Buffer.concat([Buffer.from(`${root}/`), path]), 'content');
        renameSync(
          Buffer.concat([Buffer.from(`${root}/`), path]),
          Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]),
        );
        rmSync(join(root, 'new'), { recursive: true });
      }, container);
      const id = await fixture.store.containers.commit(container);
      for await (const chunk of fixture.store.images.save(id)) void chunk;
      await fixture.store.images.import(
        fixture.at(`overlay2/${(await fixture.store.containers.get(container)).mountId}/diff`),
      );
    }
  });

  test('warns of what an image cannot hold', async () => {
    const events: ProgressEvent[] = [];
    await inside(async (path) => {
      await native.makeNode(join(path, 'socket'), 0o140755, 0, 0);
      await fixture.store.containers.commit('build', { onProgress: (event) => events.push(event) });
    });
    expect(events).toMatchObject([{ type: 'warning', code: 'socket', member: 'socket' }]);
  });

  test('leaves nothing after bad changes, names or containers, or a signal', async () => {
    await inside((path) => writeFileSync(join(path, 'new'), 'x'));
    const before = await dumpStore(fixture.root);
    const commit = (...args: Parameters<typeof fixture.store.containers.commit>) =>
      expect(fixture.store.containers.commit(...args)).rejects;
    await commit('build', { changes: ['RUN x'] }).toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    await commit('build', { reference: 'UPPER' }).toMatchObject({ code: 'ERR_REFERENCE_INVALID' });
    await commit('build', { reference: `x@sha256:${'0'.repeat(64)}` }).toMatchObject({
      code: 'ERR_REFERENCE_INVALID',
    });
    await commit('nobody').toMatchObject({ code: 'ERR_CONTAINER_NOT_FOUND' });
    await commit('build', { signal: AbortSignal.abort() }).toMatchObject({ code: 'ERR_ABORTED' });
    expect(await storeChanges(fixture.root, before)).toEqual([]);
  });

  test('of a container that is removed meanwhile does not make an image of its remains', async () => {
    const { mountId } = await fixture.store.containers.get('build');
    const upper = fixture.at(`overlay2/${mountId}/diff`);
    mkdirSync(join(upper, 'var'));
    for (let i = 0; i < 256; i++) writeFileSync(join(upper, 'var', `file-${i}`), Buffer.alloc(256 << 10, i));
    const before = readdirSync(fixture.at('overlay2'));
    const commit = fixture.store.containers.commit('build').catch((error: unknown) => error);
    const begun = (): boolean =>
      readdirSync(fixture.at('overlay2')).some(
        (id) => !before.includes(id) && existsSync(fixture.at(`overlay2/${id}/diff/var/file-0`)),
      );
    while (!begun()) await nextTurn();
    await fixture.store.containers.remove('build');
    expect(await commit).toMatchObject({ code: 'ERR_CONTAINER_NOT_FOUND' });
    expect(await fixture.store.images.list()).toHaveLength(1);
    await fixture.store.close();
    expect(readdirSync(fixture.at('overlay2')).filter((id) => !before.includes(id))).toEqual([]);
  });

  test('refuses a redirected directory by name, and leaves nothing', async () => {
    await inside((path) => mkdirSync(join(path, 'moved')));
    const { mountId } = await fixture.store.containers.get('build');
    const before = await dumpStore(fixture.root);
    const upper = fixture.at(`overlay2/${mountId}/diff/moved`);
    await native.setXattr(upper, 'trusted.overlay.redirect', Buffer.from('old'));
    await expect(fixture.store.containers.commit('build')).rejects.toMatchObject({
      code: 'ERR_UPPER_UNSUPPORTED',
      member: 'moved/',
    });
    execFileSync('setfattr', ['-x', 'trusted.overlay.redirect', upper]);
    expect(await storeChanges(fixture.root, before)).toEqual([]);
  });

  test('prints the id, and takes the options of docker commit', async () => {
    await inside((path) => writeFileSync(join(path, 'new'), 'x'));
    const cli = new LayerstackCli(fixture.root);
    const id = await cli.run(
      'commit',
      '-a',
      'me',
      '-m',
      'text',
      '-c',
      'USER a',
      '-c',
      'CMD b',
      'build',
      'cli:1',
    );
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await fixture.store.images.inspect('cli:1')).toMatchObject({
      Id: id,
      Author: 'me',
      Comment: 'text',
      Config: { User: 'a', Cmd: ['/bin/sh', '-c', 'b'] },
    });
    expect(await cli.run('diff', 'build')).toBe('A /new');
    expect(await cli.run('diff', '--format', 'json', 'build')).toBe('{"kind":"A","path":"/new"}');
    const dated = await cli.try(['commit', 'build'], { env: { SOURCE_DATE_EPOCH: '1000' } });
    expect(config(dated.stdout.trim())['created']).toBe('1970-01-01T00:16:40Z');
    const wrong = await cli.try(['commit', 'build'], { env: { SOURCE_DATE_EPOCH: 'now' } });
    expect(wrong.status).toBe(2);
  });

  async function storedLayers(): Promise<number> {
    const { readdir } = await import('node:fs/promises');
    return (await readdir(fixture.at('image/overlay2/layerdb/sha256'))).length;
  }
});
