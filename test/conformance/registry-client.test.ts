/**
 * The registry client against Debian's docker-registry: TLS, logins, proxies, mirrors, and a network that
 * breaks.
 */
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import { digestOf } from '../../src/core/digest.ts';
import { LayerstackError } from '../../src/core/errors.ts';
import { fixedCredentials } from '../../src/transfer/registry/auth/credentials.ts';
import { rejection } from '../support/errors.ts';
import { FaultProxy, lyingFaults, networkFaults } from '../support/fault-proxy.ts';
import { ForwardProxy } from '../support/forward-proxy.ts';
import { havePeers } from '../support/peers.ts';
import { Random } from '../support/random.ts';
import { drain, testClient } from '../support/registry-client.ts';
import { Registry } from '../support/registry.ts';
import { putBlob, putImage } from '../support/remote-images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { CertificateAuthority } from '../support/tls.ts';

const bytesOf = (seed: number, size: number): Buffer => {
  const random = new Random(seed);
  return Buffer.from(Array.from({ length: size }, () => random.below(256)));
};

describe.runIf(havePeers('docker-registry'))('a registry', () => {
  let registry: Registry;

  beforeAll(async () => {
    registry = await Registry.start({ delete: true });
  });
  afterAll(() => registry.stop());

  it('accepts blobs by each method, and returns them from any byte on', async () => {
    await using client = testClient(`${registry.host}/ways/all`);
    for (const [at, options] of [{}, { size: 300_000 }, { size: 300_000, monolithic: true }].entries()) {
      const bytes = bytesOf(at, 300_000);
      const digest = digestOf(bytes);
      expect(await client.hasBlob(digest)).toBeUndefined();
      await client.uploadBlob(
        async function* (from) {
          yield bytes.subarray(from, 100_000);
          yield bytes.subarray(100_000);
        },
        () => digest,
        options,
      );
      expect(await client.hasBlob(digest)).toBe(300_000);
      for (const offset of [0, 1, 299_999]) {
        const { start, total, body } = await client.openBlob({ digest, size: bytes.length }, { offset });
        expect({ start, total }).toEqual({ start: offset, total: 300_000 });
        expect((await drain(body)).equals(bytes.subarray(offset))).toBe(true);
      }
    }
  });

  it('mounts blobs of another repository', async () => {
    await using from = testClient(`${registry.host}/mount/from`);
    await using to = testClient(`${registry.host}/mount/to`);
    const { digest, size } = await putBlob(from, bytesOf(10, 1000));
    expect(await to.mountBlob(digest, `${registry.host}/mount/from`)).toBe(true);
    expect(await to.hasBlob(digest)).toBe(size);
    expect(await to.mountBlob(digestOf('nowhere'), `${registry.host}/mount/from`)).toBe(false);
  });

  it('keeps nothing of an upload that is abandoned before its first byte, nor of a mount that becomes an upload', async () => {
    await using client = testClient(`${registry.host}/given/up`);
    const abort = new AbortController();
    const upload = client.uploadBlob(
      // eslint-disable-next-line require-yield -- nothing comes
      async function* () {
        abort.abort();
        await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
      },
      () => digestOf(''),
      { signal: abort.signal },
    );
    expect((await rejection(upload)).code).toBe('ERR_ABORTED');
    expect(await client.mountBlob(digestOf('nowhere'), `${registry.host}/given/from`)).toBe(false);
    await client.close();
    const uploads = join(registry.storage, 'docker/registry/v2/repositories/given/up/_uploads');
    // Distribution 2.8 leaves the directory and the state of its hash behind, without bytes.
    expect((await readdir(uploads, { recursive: true })).filter((name) => basename(name) === 'data')).toEqual(
      [],
    );
  });

  it('returns manifests by tag and digest, lists tags, and deletes', async () => {
    await using client = testClient(`${registry.host}/images/one`);
    const { digest, bytes } = await putImage(client, '1');
    await client.pushManifest('2', MEDIA_TYPES.dockerManifest, bytes);
    for (const reference of ['1', digest])
      expect(await client.fetchManifest(reference)).toEqual({
        bytes,
        digest,
        mediaType: MEDIA_TYPES.dockerManifest,
      });
    expect(await client.headManifest('1')).toMatchObject({ digest, size: bytes.length });
    const tags: string[] = [];
    for await (const tag of client.tags()) tags.push(tag);
    expect(tags.sort()).toEqual(['1', '2']);
    expect((await client.referrers(digest)).manifests).toEqual([]);
    await client.deleteManifest(digest);
    expect(await client.headManifest('2')).toBeUndefined();
    expect(await rejection(client.deleteManifest(digest))).toMatchObject({ code: 'ERR_REGISTRY_NOT_FOUND' });
  });

  it('refuses with messages that reach the user', async () => {
    await using client = testClient(`${registry.host}/images/bad`);
    const missing = JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.dockerManifest,
      config: { mediaType: MEDIA_TYPES.dockerConfig, digest: digestOf('missing'), size: 7 },
      layers: [],
    });
    const error = await rejection(client.pushManifest('1', MEDIA_TYPES.dockerManifest, Buffer.from(missing)));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_REFUSED', registry: registry.host, status: 400 });
    expect(error.message).toMatch(/MANIFEST_BLOB_UNKNOWN/);
    expect(await rejection(client.openBlob({ digest: digestOf('missing'), size: 7 }))).toMatchObject({
      code: 'ERR_REGISTRY_NOT_FOUND',
      digest: digestOf('missing'),
    });
  });

  it('is read through mirrors, and directly where they lack the object', async () => {
    await using mirror = await Registry.start();
    const hosts = { [registry.host]: { mirrors: [new URL(`${mirror.url}/`)] } };
    await using client = testClient(`${registry.host}/mirrored/x`, { hosts });
    await using onMirror = testClient(`${mirror.host}/mirrored/x`);
    const both = bytesOf(20, 5000);
    await putBlob(onMirror, both);
    await putBlob(client, both);
    const here = await putBlob(client, bytesOf(21, 5000));
    const before = registry.log();
    expect(
      (await drain((await client.openBlob({ digest: digestOf(both), size: 5000 })).body)).equals(both),
    ).toBe(true);
    expect(registry.log() === before).toBe(true);
    expect((await drain((await client.openBlob(here)).body)).length).toBe(5000);
    expect(registry.log()).toContain(`GET /v2/mirrored/x/blobs/${here.digest}`);
  });

  describe('behind a network that breaks', () => {
    const size = 400_000;
    const bytes = bytesOf(30, size);
    const digest = digestOf(bytes);
    let manifest: Buffer;

    beforeAll(async () => {
      await using client = testClient(`${registry.host}/faults/x`);
      await putBlob(client, bytes);
      manifest = (await putImage(client, '1')).bytes;
    });

    /** As a pull does: resumes where the connection broke, a limited number of times. */
    async function download(client: ReturnType<typeof testClient>): Promise<Buffer> {
      let got = Buffer.alloc(0);
      for (let attempt = 0; ; attempt++) {
        try {
          const { start, body } = await client.openBlob({ digest, size }, { offset: got.length });
          got = got.subarray(0, start);
          for await (const chunk of body) got = Buffer.concat([got, chunk]);
          return got;
        } catch (error) {
          if (!LayerstackError.is(error) || error.retryable !== true || attempt === 20) throw error;
        }
      }
    }

    it('blobs and manifests arrive complete, resumed where they broke off (hundreds of requests)', async () => {
      await using proxy = await FaultProxy.start(registry.url, networkFaults(0.3), 4711);
      await using client = testClient(`${proxy.host}/faults/x`, { retry: { pauseMs: 1, attempts: 20 } });
      for (let round = 0; round < 60; round++) {
        expect((await download(client)).equals(bytes)).toBe(true);
        expect(Buffer.compare((await client.fetchManifest('1')).bytes, manifest)).toBe(0);
      }
      expect(proxy.passed.length).toBeGreaterThan(150);
      expect(new Set(proxy.passed.map(({ fault }) => fault?.kind)).size).toBeGreaterThan(4);
      expect(proxy.passed.some(({ headers }) => headers.range !== undefined)).toBe(true);
    });

    it('uploads arrive complete', async () => {
      await using proxy = await FaultProxy.start(registry.url, networkFaults(0.3), 42);
      await using client = testClient(`${proxy.host}/faults/up`, { retry: { pauseMs: 1, attempts: 20 } });
      for (let round = 0; round < 20; round++) {
        const sent = bytesOf(100 + round, 200_000);
        const { digest: uploaded } = await putBlob(client, sent);
        expect(await client.hasBlob(uploaded)).toBe(sent.length);
      }
      expect(proxy.passed.filter(({ fault }) => fault?.kind === 'cut-request').length).toBeGreaterThan(0);
    });

    it('a false document is never accepted as the manifest (150 times)', async () => {
      await using proxy = await FaultProxy.start(registry.url, lyingFaults(0.5), 99);
      let refused = 0;
      for (let round = 0; round < 150; round++) {
        await using client = testClient(`${proxy.host}/faults/x`, { retry: { attempts: 2, pauseMs: 1 } });
        try {
          expect(Buffer.compare((await client.fetchManifest(digestOf(manifest))).bytes, manifest)).toBe(0);
        } catch (error) {
          if (!LayerstackError.is(error)) throw error;
          refused++;
          expect(error.code).toMatch(/^ERR_(REGISTRY_\w+|DIGEST_MISMATCH|MANIFEST_INVALID)$/);
          expect(error.message).toContain(proxy.host);
        }
      }
      expect(refused).toBeGreaterThan(20);
    });
  });
});

describe.runIf(havePeers('docker-registry', 'htpasswd'))('a registry with users', () => {
  it('accepts the right password, and no other', async () => {
    await using registry = await Registry.start({ users: { bob: 'hunter2' } });
    const as = (password: string) => fixedCredentials(registry.host, { username: 'bob', password });
    await using client = testClient(`${registry.host}/x`, { credentials: as('hunter2') });
    const { digest } = await putImage(client, '1');
    expect((await client.fetchManifest('1')).digest).toBe(digest);
    for (const credentials of [undefined, as('wrong')]) {
      await using other = testClient(`${registry.host}/x`, { credentials });
      const error = await rejection(other.fetchManifest('1'));
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_DENIED', registry: registry.host });
      expect(error.message).toMatch(/layerstack login/);
      expect(error.message).not.toContain('wrong');
    }
  });
});

describe.runIf(havePeers('docker-registry', 'openssl'))('a registry with TLS by a private CA', () => {
  let work: string;
  let certs: string;
  let ca: CertificateAuthority;
  let registry: Registry;

  beforeAll(async () => {
    work = makeScratch('tls');
    certs = join(work, 'certs.d');
    await mkdir(certs);
    ca = await CertificateAuthority.create(work);
    // A name that is not loopback's, so that nothing is insecure by default; the proxy knows where it is.
    registry = await Registry.start({ tls: await ca.issue(['registry.test', 'localhost', '127.0.0.1']) });
    await using client = testClient(`${registry.host}/x`);
    await putImage(client, '1');
  });
  afterAll(async () => {
    await registry.stop();
    await dropScratch(work);
  });

  /** The environment of a proxy that knows `registry.test`. */
  async function proxied(login?: string) {
    const hosts = { 'registry.test:443': registry.port, 'registry.test:80': registry.port };
    const proxy = await ForwardProxy.start({ hosts, ...(login !== undefined && { login }) });
    return { proxy, env: { HTTPS_PROXY: proxy.url(login) } };
  }

  it('is trusted on loopback, as docker does', async () => {
    await using client = testClient(`${registry.host}/x`);
    expect((await client.fetchManifest('1')).mediaType).toBe(MEDIA_TYPES.dockerManifest);
  });

  it('is not trusted elsewhere, until its CA is in certs.d', async () => {
    const { proxy, env } = await proxied();
    {
      await using client = testClient('registry.test/x', { env, certsDirectory: certs });
      const error = await rejection(client.fetchManifest('1'));
      expect(error).toMatchObject({
        code: 'ERR_REGISTRY_UNAVAILABLE',
        registry: 'registry.test',
        retryable: false,
      });
      expect(error.message).toContain(`${certs}/registry.test/ca.crt`);
    }
    await mkdir(join(certs, 'registry.test'));
    await copyFile(ca.certificate, join(certs, 'registry.test/ca.crt'));
    await using client = testClient('registry.test/x', { env, certsDirectory: certs });
    expect((await client.fetchManifest('1')).mediaType).toBe(MEDIA_TYPES.dockerManifest);
    expect(proxy.log).toContain('CONNECT registry.test:443');
    await proxy.stop();
  });

  it('is trusted by the settings', async () => {
    const { proxy, env } = await proxied();
    for (const own of [{ ca: ca.certificate }, { insecure: true }]) {
      await using client = testClient('registry.test/x', { env, hosts: { 'registry.test': own } });
      expect((await client.fetchManifest('1')).mediaType).toBe(MEDIA_TYPES.dockerManifest);
    }
    await proxy.stop();
  });

  it('is reached through a proxy with a login, whose password appears in no error', async () => {
    const { proxy, env } = await proxied('carl:s3cret');
    const hosts = { 'registry.test': { ca: ca.certificate } };
    {
      await using client = testClient('registry.test/x', { env, hosts });
      expect((await client.fetchManifest('1')).mediaType).toBe(MEDIA_TYPES.dockerManifest);
    }
    const wrong = { HTTPS_PROXY: proxy.url('carl:other-s3cret') };
    await using client = testClient('registry.test/x', { env: wrong, hosts });
    const error = await rejection(client.fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', registry: 'registry.test' });
    expect(error.message).toMatch(/proxy http:\/\/127\.0\.0\.1:\d+\/ answers 407/);
    expect(error.message + String(error.cause)).not.toContain('s3cret');
    await proxy.stop();
  });

  it('is reached without the proxy if NO_PROXY names it', async () => {
    const { proxy, env } = await proxied();
    await using client = testClient('registry.test/x', {
      env: { ...env, NO_PROXY: '.test' },
      retry: { attempts: 1 },
    });
    const error = await rejection(client.fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', registry: 'registry.test' });
    expect(proxy.log).toEqual([]);
    await proxy.stop();
  });

  it('with a certificate for another name is not trusted', async () => {
    await using proxy = await ForwardProxy.start({ hosts: { 'other.test:443': registry.port } });
    const hosts = { 'other.test': { ca: ca.certificate } };
    await using client = testClient('other.test/x', { env: { HTTPS_PROXY: proxy.url() }, hosts });
    const error = await rejection(client.fetchManifest('1'));
    expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', retryable: false });
    expect(error.message).toContain('is for another host');
  });

  it('that asks for a certificate gets the one in certs.d', async () => {
    const [server, own] = [await ca.issue(['localhost']), await ca.issue(['client'])];
    await using strict = await Registry.start({ tls: { ...server, clientCas: [ca.certificate] } });
    {
      await using client = testClient(`${strict.host}/x`, { certsDirectory: certs });
      const error = await rejection(client.fetchManifest('1'));
      expect(error).toMatchObject({ code: 'ERR_REGISTRY_UNAVAILABLE', registry: strict.host });
      expect(error.message).toContain(`${certs}/${strict.host}/client.cert`);
    }
    const folder = join(certs, strict.host);
    await mkdir(folder);
    await copyFile(own.certificate, join(folder, 'client.cert'));
    {
      await using client = testClient(`${strict.host}/x`, { certsDirectory: certs });
      expect(await rejection(client.fetchManifest('1'))).toMatchObject({
        code: 'ERR_REGISTRY_SETTINGS',
        path: join(folder, 'client.cert'),
        message: expect.stringContaining('its key client.key is missing') as string,
      });
    }
    await copyFile(own.key, join(folder, 'client.key'));
    await using client = testClient(`${strict.host}/x`, { certsDirectory: certs });
    expect(await client.headManifest('1')).toBeUndefined();
    const hosts = { [strict.host]: { certificate: own.certificate, key: own.key } };
    await using bySettings = testClient(`${strict.host}/x`, { hosts });
    expect(await bySettings.headManifest('1')).toBeUndefined();
  });

  it('with bad certificates is not treated as one without TLS', async () => {
    const folder = join(certs, registry.host);
    await mkdir(folder);
    await writeFile(join(folder, 'ca.crt'), 'nonsense');
    await using client = testClient(`${registry.host}/x`, { certsDirectory: certs });
    expect(await rejection(client.fetchManifest('1'))).toMatchObject({
      code: 'ERR_REGISTRY_SETTINGS',
      path: join(folder, 'ca.crt'),
    });
  });

  it('of plain HTTP behind a proxy is reached with absolute URLs, if it is set insecure', async () => {
    await using plain = await Registry.start();
    await using proxy = await ForwardProxy.start({ hosts: { 'plain.test:5000': plain.port } });
    const env = { HTTP_PROXY: proxy.url(), HTTPS_PROXY: proxy.url() };
    {
      await using client = testClient('plain.test:5000/x', { env });
      expect((await rejection(client.fetchManifest('1'))).message).toMatch(
        /does not speak TLS.*"insecure": true/,
      );
    }
    const hosts = { 'plain.test:5000': { insecure: true } };
    await using client = testClient('plain.test:5000/x', { env, hosts });
    const { digest } = await putImage(client, '1');
    expect((await client.fetchManifest('1')).digest).toBe(digest);
    expect(proxy.log).toContain('GET http://plain.test:5000/v2/x/manifests/1');
  });
});
