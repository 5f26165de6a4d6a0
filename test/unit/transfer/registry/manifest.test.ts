/** Manifests that must be refused: each with an error that names the registry and the manifest. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../../../src/core/descriptor.ts';
import { digestOf } from '../../../../src/core/digest.ts';
import type { RepositoryClient } from '../../../../src/transfer/registry/client.ts';
import { rejection } from '../../../support/errors.ts';
import { HttpServer } from '../../../support/http-server.ts';
import { testClient } from '../../../support/registry-client.ts';

const { dockerIndex, dockerManifest, ociIndex, ociManifest } = MEDIA_TYPES;
const blob = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: digestOf('c'), size: 1 };
const bytesOf = (document: unknown) => Buffer.from(JSON.stringify(document));
const manifest = (mediaType?: string) => bytesOf({ schemaVersion: 2, mediaType, config: blob, layers: [] });
const index = (mediaType?: string) =>
  bytesOf({ schemaVersion: 2, mediaType, manifests: [{ ...blob, mediaType: ociManifest }] });

let server: HttpServer;
let client: RepositoryClient;

beforeEach(async () => {
  server = await HttpServer.start();
  client = testClient(`${server.host}/a/b`);
});
afterEach(async () => {
  await client.close();
  await server.stop();
});

/** What the registry says to every request for a manifest. */
function says(bytes: Uint8Array | string, headers: Record<string, string> = {}, status = 200): void {
  server.answer = ({ path }, response) => {
    if (path === '/v2/') response.end();
    else response.writeHead(status, headers).end(bytes);
  };
}

async function refused(code: string, message: RegExp, reference = '1') {
  const error = await rejection(client.fetchManifest(reference));
  expect(error).toMatchObject({ code, registry: server.host, repository: `${server.host}/a/b` });
  expect(error.message).toContain(`manifest ${server.host}/a/b`);
  expect(error.message).toContain(server.host);
  expect(error.message).toMatch(message);
  return error;
}

describe('a manifest', () => {
  it.each([
    ['docker manifest', dockerManifest, manifest(dockerManifest), dockerManifest],
    ['docker manifest list', dockerIndex, index(dockerIndex), dockerIndex],
    ['OCI manifest', ociManifest, manifest(ociManifest), ociManifest],
    ['OCI manifest without a type of its own', ociManifest, manifest(), ociManifest],
    ['OCI index without a type of its own', ociIndex, index(), ociIndex],
    ['of a file server', 'application/json', manifest(dockerManifest), dockerManifest],
    ['of a file server, without any type', 'application/octet-stream', index(), ociIndex],
    ['with a charset', `${ociManifest}; charset=utf-8`, manifest(ociManifest), ociManifest],
  ])('%s is read', async (_, header, bytes, mediaType) => {
    says(bytes, { 'content-type': header, 'docker-content-digest': digestOf(bytes) });
    for (const reference of ['1', digestOf(bytes)])
      expect(await client.fetchManifest(reference)).toEqual({ bytes, mediaType, digest: digestOf(bytes) });
    expect(server.log).toContain('GET /v2/a/b/manifests/1');
    expect(server.asked.at(-1)?.headers.accept?.split(', ').sort()).toEqual(
      [dockerIndex, dockerManifest, ociIndex, ociManifest].sort(),
    );
  });

  it('is described without a fetch if the registry says enough', async () => {
    const bytes = manifest(ociManifest);
    const headers = { 'content-type': ociManifest, 'content-length': String(bytes.length) };
    says('', { ...headers, 'docker-content-digest': digestOf(bytes) });
    expect(await client.headManifest('1')).toEqual({
      digest: digestOf(bytes),
      size: bytes.length,
      mediaType: ociManifest,
    });
    expect(server.log).toEqual(['HEAD /v2/a/b/manifests/1']);
  });

  it('is fetched to be described if the registry does not give its digest', async () => {
    const bytes = manifest(ociManifest);
    says(bytes, { 'content-type': ociManifest });
    expect(await client.headManifest('1')).toMatchObject({ digest: digestOf(bytes), size: bytes.length });
    expect(server.log).toEqual(['HEAD /v2/a/b/manifests/1', 'GET /v2/a/b/manifests/1']);
  });

  it('that is missing is undefined when described, and an error when fetched', async () => {
    says('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', {}, 404);
    expect(await client.headManifest('1')).toBeUndefined();
    await refused('ERR_REGISTRY_NOT_FOUND', /MANIFEST_UNKNOWN: manifest unknown.*check the name/);
  });
});

describe('is refused', () => {
  it('a document of another digest than was asked for', async () => {
    const asked = digestOf('another');
    says(manifest(ociManifest), { 'content-type': ociManifest });
    const error = await refused('ERR_DIGEST_MISMATCH', /document with the digest/, asked);
    expect(error).toMatchObject({ digest: asked, expected: asked, found: digestOf(manifest(ociManifest)) });
  });

  it.each([digestOf('another'), 'sha256:1', 'nonsense'])(
    'a document of another digest than the header says (%s)',
    async (said) => {
      says(manifest(ociManifest), { 'content-type': ociManifest, 'docker-content-digest': said });
      await refused('ERR_DIGEST_MISMATCH', /damaged, or was changed in transit/);
    },
  );

  it('another digest in the answer to HEAD', async () => {
    const headers = { 'content-type': ociManifest, 'content-length': '9' };
    says('', { ...headers, 'docker-content-digest': digestOf('another') });
    expect(await rejection(client.headManifest(digestOf('asked')))).toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
    });
  });

  it.each([true, false])('a manifest of 5 MB (announced: %s)', async (announced) => {
    const bytes = Buffer.alloc(5_000_000, ' ');
    server.answer = ({ path }, response) => {
      if (path === '/v2/') return response.end();
      response.setHeader('content-type', ociManifest);
      if (announced) response.setHeader('content-length', bytes.length);
      else response.write(' ');
      return response.end(bytes);
    };
    expect(await refused('ERR_LIMIT_EXCEEDED', /more than 4194304 bytes/)).toMatchObject({ limit: 4194304 });
  });

  it.each([
    ['by its type', { 'content-type': 'text/html; charset=utf-8' }],
    ['by its content', { 'content-type': ociManifest }],
    ['without a type', {}],
  ])('HTML instead of JSON, known %s', async (_, headers: Record<string, string>) => {
    says('<!DOCTYPE html><html>Log in</html>', headers);
    await refused('ERR_REGISTRY_INVALID', /web page.*instead of a manifest.*is it a registry/);
  });

  it.each([
    ['JSON that is not a manifest', '{}', /does not send a manifest/],
    ['a list', '[]', /does not send a manifest/],
    ['broken JSON', '{"schemaVersion":', /not JSON/],
    ['nothing', '', /empty/],
  ])('%s', async (_, body, message) => {
    says(body, { 'content-type': ociManifest });
    await refused('ERR_MANIFEST_INVALID', message);
  });

  it.each([
    ['by its type', 'application/vnd.docker.distribution.manifest.v1+prettyjws', '{}'],
    ['by its content', 'application/json', '{"schemaVersion":1,"fsLayers":[]}'],
  ])("docker's schema 1, known %s", async (_, type, body) => {
    says(body, { 'content-type': type });
    await refused('ERR_MANIFEST_INVALID', /schema 1.*push the image again/);
  });

  it('something that is not an image', async () => {
    says('{}', { 'content-type': 'application/vnd.example.thing+json' });
    await refused('ERR_MANIFEST_INVALID', /"application\/vnd\.example\.thing\+json", which is neither/);
  });

  it.each([
    ['a manifest called an index', ociIndex, manifest()],
    ['an index called a manifest', ociManifest, index()],
    ['a manifest with an index’s type of its own', ociManifest, manifest(ociIndex)],
    ['a docker manifest called an OCI manifest', ociManifest, manifest(dockerManifest)],
    ['an OCI index called a docker list', dockerIndex, index(ociIndex)],
    [
      'a document that is both',
      ociManifest,
      bytesOf({ schemaVersion: 2, config: blob, layers: [], manifests: [] }),
    ],
  ])('CVE-2021-41190: %s', async (_, type, bytes) => {
    says(bytes, { 'content-type': type });
    await refused('ERR_MANIFEST_INVALID', /calls it|both a manifest and an index|says to be/);
  });

  it.each(['..', '../../x', 'a/b', '', 'sha256:1', '-x', 'x'.repeat(129), 'a?b', 'a#b', 'a b'])(
    'a reference that would be another path: %j',
    async (reference) => {
      expect(await rejection(client.fetchManifest(reference))).toMatchObject({
        code: 'ERR_REFERENCE_INVALID',
      });
      expect(server.asked).toEqual([]);
    },
  );
});
