/**
 * pull over HTTP from registries that break, lie and send rubbish: what arrives is right, or the store is as
 * it was.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import { rejection } from '../support/errors.ts';
import { FaultProxy, lyingFaults, networkFaults, type ChooseFault } from '../support/fault-proxy.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { storeChanges, dumpStore } from '../support/store-dump.ts';
import { clientOf, FakeRepository, PullStore, RepositoryServer } from '../support/pull-store.ts';

const layers = [
  layerOf({ 'etc/base': randomBytes(40_000).toString('hex') }),
  layerOf({ 'etc/top': 'top', big: randomBytes(150_000).toString('hex') }),
];
const image = imageOf(layers);

/** Pulls so often, each time with another seed; what became of each. */
async function pulls(count: number, faults: (seed: number) => ChooseFault): Promise<Record<string, number>> {
  await using target = await PullStore.open();
  const repository = new FakeRepository();
  repository.push(image, ['1']);
  await using server = await RepositoryServer.start(repository);
  const ends: Record<string, number> = {};
  for (let seed = 1; seed <= count; seed++) {
    await using proxy = await FaultProxy.start(server.url, faults(seed), seed);
    await using client = clientOf(proxy.host, 't/x', 200);
    let end = 'pulled';
    try {
      await target.pull(client, '1');
      expect(await target.store.layerFile(image, 1, 'etc/top'), `seed ${String(seed)}`).toBe('top');
      expect(await target.store.images.get(image.id)).toMatchObject({ id: image.id });
      await target.store.images.remove(image.id, () => Promise.resolve([]), { force: true });
      await target.store.layers.drain();
    } catch (error) {
      if (!LayerstackError.is(error)) throw error;
      end = error.code;
    }
    ends[end] = (ends[end] ?? 0) + 1;
    await target.store.expectImages();
  }
  return ends;
}

describe('hundreds of pulls', () => {
  it("over a bad network succeed, or fail with the network's error", async () => {
    const ends = await pulls(150, () => networkFaults(0.3));
    const { pulled = 0, ERR_REGISTRY_UNAVAILABLE: down = 0, ERR_REGISTRY_LIMIT: limit = 0, ...others } = ends;
    expect(others).toEqual({});
    expect(pulled).toBeGreaterThan(100);
    expect(pulled + down + limit).toBe(150);
  });

  it('from a lying registry leave nothing wrong', async () => {
    const ends = await pulls(150, () => lyingFaults(0.4));
    expect(ends['pulled']).toBeGreaterThan(5);
    expect(
      Object.keys(ends).filter(
        (end) =>
          !/^(pulled|ERR_(REGISTRY_|DIGEST_|MANIFEST_|LIMIT_|LAYER_INVALID|LAYER_TRUNCATED))/.test(end),
      ),
    ).toEqual([]);
  });

  it('that stall end, too', async () => {
    const ends = await pulls(
      2,
      () => (request, random) =>
        request.url?.includes('/blobs/') ? { kind: 'stall', at: random.next() } : undefined,
    );
    expect(ends).toEqual({ ERR_REGISTRY_UNAVAILABLE: 2 });
  });
});

describe('bad input', () => {
  /** The error of a pull of tag 1, which changed nothing of the store. */
  async function errorOf(
    repository: FakeRepository,
    faults: ChooseFault = () => undefined,
    options: object = {},
  ): Promise<LayerstackError> {
    await using target = await PullStore.open();
    await using server = await RepositoryServer.start(repository);
    await using proxy = await FaultProxy.start(server.url, faults);
    await using client = clientOf(proxy.host, 't/x', 300);
    const before = await dumpStore(target.store.path);
    const error = await rejection(target.pull(client, '1', options));
    expect(await storeChanges(target.store.path, before)).toEqual([]);
    return error;
  }

  const blobs =
    (fault: ReturnType<ChooseFault>, digest = ''): ChooseFault =>
    ({ url }) =>
      url?.includes(`/blobs/${digest}`) === true ? fault : undefined;

  function pushed(...args: [options?: Parameters<FakeRepository['push']>[2]]): FakeRepository {
    const repository = new FakeRepository();
    repository.push(image, ['1'], ...args);
    return repository;
  }

  const top = (repository: FakeRepository) => [...repository.blobs.keys()].at(-1) ?? '';

  it('a layer with another digest', async () => {
    const repository = pushed();
    const error = await errorOf(repository, blobs({ kind: 'corrupt', at: 0.99 }, top(repository)));
    expect(error.code).toMatch(/ERR_DIGEST_MISMATCH|ERR_LAYER_INVALID/);
    expect(error.message).toContain(top(repository));
    expect(error.message).toMatch(/localhost:\d+\/t\/x:1/);
  });

  it('a plain layer with another digest', async () => {
    const repository = pushed({ compress: (bytes) => bytes });
    const error = await errorOf(repository, blobs({ kind: 'corrupt', at: 0.5 }, top(repository)));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
    expect(error.message).toMatch(/push it again/);
  });

  it('a config with another digest', async () => {
    const error = await errorOf(pushed(), blobs({ kind: 'corrupt', at: 0.5 }, image.id));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH', expected: image.id });
  });

  it.each([-10, 10])('a layer whose body is %i bytes longer', async (bytes) => {
    const repository = pushed();
    const error = await errorOf(repository, blobs({ kind: 'resize', bytes }, top(repository)));
    expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH', digest: top(repository) });
    expect(error.message).toMatch(/localhost/);
  });

  it('a layer with a wrong size in the manifest, without Content-Length', async () => {
    for (const by of [-1, 1]) {
      const repository = pushed({
        change: (document) => {
          const all = document['layers'] as { size: number }[];
          return { ...document, layers: all.map((each) => ({ ...each, size: each.size + by })) };
        },
      });
      const chunked = { kind: 'headers', headers: { 'content-length': undefined } } as const;
      const error = await errorOf(repository, blobs(chunked));
      expect(error).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
      expect(error.message).toMatch(by < 0 ? /sends more than/ : /bytes/);
    }
  });

  it('a blob that the registry does not have', async () => {
    const repository = pushed();
    const missing = top(repository);
    repository.blobs.delete(missing as never);
    const error = await errorOf(repository);
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_NOT_FOUND', digest: missing });
  });

  it('a web page in place of the manifest, the config, a layer', async () => {
    const page = {
      kind: 'answer',
      status: 200,
      headers: { 'content-type': 'text/html' },
      body: '<html>Log in</html>',
    } as const;
    const repository = pushed();
    const manifests: ChooseFault = ({ url }) => (url?.includes('/manifests/') === true ? page : undefined);
    for (const faults of [manifests, blobs(page, image.id), blobs(page, top(repository))]) {
      const error = await errorOf(repository, faults);
      expect(error.code).toMatch(/ERR_REGISTRY_INVALID|ERR_MANIFEST_INVALID|ERR_DIGEST_MISMATCH/);
      expect(error.message).toMatch(/localhost:\d+/);
    }
  });

  it('a manifest of 5 MB', async () => {
    const error = await errorOf(
      pushed({ change: (document) => ({ ...document, x: 'x'.repeat(5_000_000) }) }),
    );
    expect(error).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED' });
  });

  it('a config of 9 MB, which is not fetched', async () => {
    const repository = pushed({
      change: (document) => ({
        ...document,
        config: { ...(document['config'] as object), size: 9_000_000 },
      }),
    });
    expect(await errorOf(repository)).toMatchObject({ code: 'ERR_LIMIT_EXCEEDED', digest: image.id });
  });

  it('CVE-2021-41190: a document that is a manifest to one and an index to another', async () => {
    const both = pushed({ change: (document) => ({ ...document, manifests: [] }) });
    expect(await errorOf(both)).toMatchObject({ code: 'ERR_MANIFEST_INVALID' });
    const repository = pushed();
    const says =
      (mediaType: string): ChooseFault =>
      ({ url }) =>
        url?.includes('/manifests/') === true
          ? { kind: 'headers', headers: { 'content-type': mediaType } }
          : undefined;
    for (const mediaType of [MEDIA_TYPES.dockerIndex, MEDIA_TYPES.ociIndex, MEDIA_TYPES.ociManifest])
      expect(await errorOf(repository, says(mediaType))).toMatchObject({ code: 'ERR_MANIFEST_INVALID' });
    const child = [...repository.manifests.values()][0];
    const manifests = [
      {
        mediaType: MEDIA_TYPES.ociIndex,
        digest: [...repository.manifests.keys()][0],
        size: child?.bytes.length,
        platform: image.platform,
      },
    ];
    const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests };
    repository.manifest(index, MEDIA_TYPES.ociIndex, '1');
    expect(await errorOf(repository)).toMatchObject({ code: 'ERR_MANIFEST_INVALID' });
  });

  it('an index that gives the size of its manifest wrong', async () => {
    const repository = pushed();
    const manifests = [...repository.manifests].slice(0, 1).map(([digest, { bytes, mediaType }]) => ({
      ...{ digest, mediaType, size: bytes.length + 1, platform: image.platform },
    }));
    const index = { schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests };
    repository.manifest(index, MEDIA_TYPES.ociIndex, '1');
    expect(await errorOf(repository)).toMatchObject({ code: 'ERR_DIGEST_MISMATCH' });
  });

  it('docker schema 1', async () => {
    const repository = new FakeRepository();
    const mediaType = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    repository.manifest(
      { schemaVersion: 1, name: 't/x', tag: '1', fsLayers: [], history: [] },
      mediaType,
      '1',
    );
    const error = await errorOf(repository);
    expect(error).toMatchObject({ code: 'ERR_MANIFEST_INVALID' });
    expect(error.message).toMatch(/schema 1 .* push the image again/);
  });

  it('foreign layers', async () => {
    for (const layerType of [
      'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    ]) {
      const error = await errorOf(pushed({ layerType }));
      expect(error).toMatchObject({ code: 'ERR_LAYER_FOREIGN' });
      expect(error.message).toContain(layerType);
    }
  });

  it.each([
    ['application/vnd.example.sbom', 'application/vnd.oci.empty.v1+json', 'application/vnd.example.sbom'],
    [
      'application/vnd.example.sbom',
      'application/vnd.cncf.helm.config.v1+json',
      'application/vnd.example.sbom',
    ],
    [undefined, 'application/vnd.cncf.helm.config.v1+json', 'application/vnd.cncf.helm.config.v1+json'],
    ['', 'application/vnd.oci.empty.v1+json', 'application/vnd.oci.empty.v1+json'],
  ])(
    'an artifact with artifactType %s and a config of %s, which is named by its type',
    async (artifactType, mediaType, named) => {
      const artifact = pushed({
        change: (document) => ({
          ...document,
          artifactType,
          config: { ...(document['config'] as object), mediaType },
        }),
      });
      const error = await errorOf(artifact);
      expect(error.code).toBe('ERR_MANIFEST_INVALID');
      expect(error.message).toMatch(new RegExp(`artifact of type ${named.replace(/[.+]/g, '\\$&')}$`));
    },
  );

  it('artifacts, which are not images', async () => {
    const chart = pushed({
      change: (document) => ({
        ...document,
        config: { ...(document['config'] as object), mediaType: 'application/vnd.cncf.helm.config.v1+json' },
      }),
    });
    expect(await errorOf(chart)).toMatchObject({ code: 'ERR_MANIFEST_INVALID' });
    expect(await errorOf(pushed({ layerType: 'application/wasm' }))).toMatchObject({
      code: 'ERR_MANIFEST_INVALID',
    });
  });

  it.each([
    ['application/octet-stream', 'weights'],
    ['application/json', '{"architecture":"amd64","os":"linux"}'],
    ['text/html', '<html>'],
    ['text/plain', '[{"rootfs":{"type":"layers"}}]'],
  ])('an artifact whose config of type %s is not an image: %s', async (mediaType, text) => {
    const repository = new FakeRepository();
    const config = repository.blob(Buffer.from(text), mediaType);
    repository.push(image, ['1'], { change: (document) => ({ ...document, config }) });
    const error = await errorOf(repository);
    expect(error.code).toBe('ERR_MANIFEST_INVALID');
    expect(error.message).toContain(
      `not an image but an artifact: its config ${config.digest}, of type ${mediaType}`,
    );
  });

  it('an image for another machine, and an index without this one', async () => {
    expect(await errorOf(pushed(), undefined, { platform: 'linux/s390x' })).toMatchObject({
      code: 'ERR_PLATFORM_NOT_FOUND',
    });
    const repository = pushed();
    const [digest, child] = [...repository.manifests][0] ?? [];
    const platform = { os: 'linux', architecture: 's390x' };
    const manifests = [{ digest, mediaType: child?.mediaType, size: child?.bytes.length, platform }];
    repository.manifest({ schemaVersion: 2, manifests }, MEDIA_TYPES.ociIndex, '1');
    const error = await errorOf(repository);
    expect(error).toMatchObject({ code: 'ERR_PLATFORM_NOT_FOUND' });
    expect(error.message).toContain('linux/s390x');
  });

  it('a server that is not a registry', async () => {
    const server = createServer((_request, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      await using target = await PullStore.open();
      await using client = clientOf(`localhost:${String((server.address() as AddressInfo).port)}`);
      const error = await rejection(target.pull(client, '1'));
      expect(error.code).toMatch(/ERR_REGISTRY_INVALID|ERR_MANIFEST_INVALID/);
    } finally {
      server.close();
    }
  });
});
