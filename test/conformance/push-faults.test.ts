/** Pushes to distribution's registry through networks that break, and aborted pushes. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { digestOf, hexOf, type Digest } from '../../src/core/digest.ts';
import { openRepository, type RepositoryClient } from '../../src/transfer/registry/client.ts';
import { defaultSettings } from '../../src/transfer/registry/settings.ts';
import { FaultProxy, networkFaults, type ChooseFault } from '../support/fault-proxy.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { Registry } from '../support/registry.ts';
import { PushStore, type ManifestJson } from '../support/push-store.ts';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const base = layerOf({ 'usr/big': randomBytes(3_000_000).toString('latin1') });
const top = layerOf({ 'etc/top': randomBytes(200_000).toString('hex') });

describe.runIf(havePeers('docker-registry'))('push through a bad network', () => {
  let registry: Registry;
  let proxy: FaultProxy;
  let next = 0;

  beforeAll(async () => {
    registry = await Registry.start();
    proxy = await FaultProxy.start(registry.url);
  });

  afterAll(async () => {
    await proxy.stop();
    await registry.stop();
  });

  const open = (repository: string): RepositoryClient =>
    openRepository(repository, {
      settings: defaultSettings('/nowhere'),
      credentials: undefined,
      log: silent,
      retry: { attempts: 8, pauseMs: 5 },
    });

  const path = (name: string): string => join(registry.storage, 'docker/registry/v2/repositories', name);
  const blob = (digest: Digest): Buffer =>
    readFileSync(
      join(registry.storage, 'docker/registry/v2/blobs/sha256', digest.slice(7, 9), hexOf(digest), 'data'),
    );

  /** A store with an image of a new name, and the name's path in the registry. */
  async function prepare(): Promise<{ from: PushStore; client: RepositoryClient; name: string }> {
    const name = `t/x${String(next++)}`;
    const repository = `${proxy.host}/${name}`;
    const from = await PushStore.open(imageOf([base, top], { tags: [`${repository}:1`] }));
    return { from, client: open(repository), name };
  }

  /** Returns the registry's own files of the image. */
  function expectPushed(name: string, digest: Digest): void {
    const link = join(path(name), '_manifests/tags/1/current/link');
    expect(readFileSync(link, 'utf8')).toBe(digest);
    const { layers } = JSON.parse(String(blob(digest))) as ManifestJson;
    expect(layers.map((layer) => digestOf(gunzipSync(blob(layer.digest))))).toEqual([
      base.diffId,
      top.diffId,
    ]);
    expect(layers.map((layer) => blob(layer.digest).length)).toEqual(layers.map(({ size }) => size));
  }

  /** Bytes of unfinished uploads that the registry still keeps. */
  const leftovers = (name: string): string[] => {
    try {
      const uploads = readdirSync(join(path(name), '_uploads'), { recursive: true, encoding: 'utf8' });
      return uploads.filter((file) => file.endsWith('/data'));
    } catch {
      return [];
    }
  };

  async function pushThrough(choose: ChooseFault): Promise<void> {
    const { from, client, name } = await prepare();
    proxy.choose = choose;
    try {
      const { images } = await from.push(client, '1');
      proxy.choose = () => undefined;
      expectPushed(name, images[0]?.digest as Digest);
    } finally {
      proxy.choose = () => undefined;
      await client.close();
      await from[Symbol.asyncDispose]();
    }
  }

  test.each([0, 1, 65_537, 2_000_000])(
    'an upload that is cut after %i bytes is resumed',
    async (afterBytes) => {
      let cuts = 2;
      await pushThrough((request) =>
        request.method === 'PATCH' && cuts-- > 0 ? { kind: 'cut-request', afterBytes } : undefined,
      );
    },
  );

  test.each(['PATCH', 'PUT', 'POST'])('the answer to a %s is lost', async (method) => {
    let lost = 0;
    await pushThrough((request) =>
      request.method === method && lost++ === 0 ? { kind: 'lose-answer' } : undefined,
    );
    expect(lost).toBeGreaterThan(1);
  });

  test('random network faults', async () => {
    for (let seed = 0; seed < 5; seed++) await pushThrough(networkFaults(0.2));
  });

  test('a registry that disappears is named, and no part of the push is visible', async () => {
    const { from, client, name } = await prepare();
    let asked = 0;
    proxy.choose = () => (++asked > 4 ? { kind: 'reset' } : undefined);
    try {
      await expect(from.push(client, '1')).rejects.toMatchObject({
        code: 'ERR_REGISTRY_UNAVAILABLE',
        message: expect.stringContaining(proxy.host) as string,
      });
    } finally {
      proxy.choose = () => undefined;
      await client.close();
    }
    expect(() => readdirSync(join(path(name), '_manifests/tags'))).toThrow('ENOENT');
    await from.store.expectClean();
    await from[Symbol.asyncDispose]();
  });

  test('an aborted push ends at once, and leaves no upload behind', async () => {
    const { from, client, name } = await prepare();
    const abort = new AbortController();
    let stopped = 0;
    const pushing = from.push(client, '1', {
      signal: abort.signal,
      onProgress: ({ type }) => {
        if (type !== 'layer-progress' || abort.signal.aborted) return;
        stopped = performance.now();
        abort.abort(new Error('enough'));
      },
    });
    await expect(pushing).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(performance.now() - stopped).toBeLessThan(2000);
    await client.close();
    for (let tries = 0; leftovers(name).length > 0 && tries < 100; tries++) await sleep(50);
    expect(leftovers(name)).toEqual([]);
    expect(() => readdirSync(join(path(name), '_manifests/tags'))).toThrow('ENOENT');
    await from.store.expectClean();
    await from[Symbol.asyncDispose]();
  });
});
