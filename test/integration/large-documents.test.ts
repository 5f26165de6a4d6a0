/**
 * Documents of containers, networks and volumes that are far larger than a line, and what dockerd crashes on
 * in them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NamedObject } from '../../src/container/named-objects.ts';
import { EMPTY_CONTAINER_CONFIG } from '../../src/image/container-config.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

const LARGE = 'x'.repeat(200_000);

let fixture: TestStore;
beforeEach(async () => {
  fixture = await TestStore.build();
});
afterEach(() => fixture[Symbol.asyncDispose]());

async function findings(): Promise<StoreFinding[]> {
  const found: StoreFinding[] = [];
  for await (const finding of fixture.store.fsck()) found.push(finding);
  return found;
}

describe('a container with large labels and annotations', () => {
  it('is used like any other, and fsck has no findings', async () => {
    const { id } = await fixture.store.containers.create(IMAGE, {
      name: 'large',
      config: { ...EMPTY_CONTAINER_CONFIG, Labels: new Map([['label', LARGE]]), Cmd: ['/bin/true'] },
      hostConfig: { Annotations: { note: LARGE } },
    });
    expect(await findings()).toEqual([]);
    await fixture.store.containers.connect(id, 'front');
    await fixture.store.containers.rename(id, 'larger');
    const { Config, NetworkSettings, HostConfig } = await fixture.store.containers.inspect('larger');
    expect(Config.Labels).toEqual({ label: LARGE });
    expect(HostConfig.Annotations).toEqual({ note: LARGE });
    expect(Object.keys(NetworkSettings.Networks ?? {})).toEqual(['front']);
    expect(await findings()).toEqual([]);
  });
});

describe.each(['networks', 'volumes'] as const)('%s', (kind) => {
  const object = (name: string, label = ''): NamedObject => ({
    ...{ Id: name, Name: name, Created: '2024-01-02T03:04:05Z', Driver: 'local' },
    ...{ Labels: { label }, Options: {}, More: {} },
  });

  it('may be many, and have large labels', async () => {
    await fixture.store[kind].add(object('large', LARGE));
    for (let number = 0; number < 400; number++)
      await fixture.store[kind].add(object(`v${number}`, 'y'.repeat(200)));
    await fixture.reopen();
    expect(fixture.store[kind].list()).toHaveLength(401);
    expect(fixture.store[kind].list()[0]?.Labels).toEqual({ label: LARGE });
    expect(await fixture.store[kind].remove(({ Name }) => Name === 'large')).toHaveLength(1);
    expect(await findings()).toEqual([]);
  });
});

describe('a document on which dockerd crashes at its start', () => {
  type Document = Record<string, unknown>;
  const CONFIG = 'config.v2.json';

  it.each([
    ['no Config', CONFIG, (document: Document) => ({ ...document, Config: null }), 'Config'],
    ['no State', CONFIG, (document: Document) => ({ ...document, State: null }), 'State'],
    [
      'a mount point of nothing',
      CONFIG,
      (document: Document) => ({ ...document, MountPoints: { '/v': null } }),
      '/v',
    ],
    ['a host config of nothing', 'hostconfig.json', () => null, 'hostconfig.json'],
  ])('is named: %s', async (_, file, change, what) => {
    const { id } = await fixture.store.containers.create(IMAGE);
    const path = fixture.at(`containers/${id}/${file}`);
    writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')) as Document)));
    const found = (await findings()).filter(({ code }) => code === 'container-undecodable');
    expect(found).toMatchObject([{ severity: 'error', path: `containers/${id}/${file}` }]);
    expect(found[0]?.message).toContain(
      `it lacks ${what.startsWith('/') ? `MountPoints["${what}"]` : what}, so dockerd would crash`,
    );
  });

  it('is not one that lacks members that dockerd makes itself', async () => {
    const { id } = await fixture.store.containers.create(IMAGE);
    const path = fixture.at(`containers/${id}/${CONFIG}`);
    const { State, MountPoints, ...rest } = JSON.parse(readFileSync(path, 'utf8')) as Document;
    expect([State, MountPoints]).not.toContain(undefined);
    writeFileSync(path, JSON.stringify({ ...rest, MountPoints: null, NetworkSettings: null }));
    expect((await findings()).filter(({ code }) => code === 'container-undecodable')).toEqual([]);
  });
});
