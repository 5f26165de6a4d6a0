/**
 * `manifest inspect`, `tags`, `referrers` and `rm-remote` against docker-registry, compared with docker's own
 * client where it has them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MEDIA_TYPES } from '../../src/core/descriptor.ts';
import type { RepositoryClient } from '../../src/transfer/registry/client.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { testClient } from '../support/registry-client.ts';
import { Registry } from '../support/registry.ts';
import { putBlob, putImage, putIndex, type PutImage } from '../support/remote-images.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

describe.runIf(havePeers('docker-registry', 'docker'))('the commands that look at a registry', () => {
  let scratch: string;
  let registry: Registry;
  let client: RepositoryClient;
  let cli: LayerstackCli;
  let image: PutImage;
  let name: string;

  beforeAll(async () => {
    scratch = makeScratch('registry-commands');
    registry = await Registry.start({ delete: true });
    name = `${registry.host}/team/app`;
    client = testClient(name);
    image = await putImage(client, '1');
    await putIndex(client, 'list');
    await putIndex(client, 'oci', { oci: true });
    // Its directory need not exist, and is not made.
    cli = new LayerstackCli(join(scratch, 'root'));
  });
  afterAll(async () => {
    await client.close();
    await registry.stop();
    await dropScratch(scratch);
  });

  const docker = (...args: string[]) =>
    must('docker', ['manifest', 'inspect', '--insecure', ...args], {
      env: { DOCKER_CONFIG: join(scratch, 'docker') },
    });

  it.each(['1', 'list'])("manifest inspect prints what docker's does (%s)", async (tag) => {
    expect(`${await cli.run('manifest', 'inspect', `${name}:${tag}`)}\n`).toBe(
      await docker(`${name}:${tag}`),
    );
  });

  it.each(['1', 'list'])('and with --verbose (%s)', async (tag) => {
    const ours = JSON.parse(await cli.run('manifest', 'inspect', '-v', `${name}:${tag}`)) as unknown;
    const theirs = JSON.parse(await docker('--verbose', `${name}:${tag}`)) as unknown;
    // Raw exists since docker 24.
    const withRaw = (each: unknown) => ({ Raw: expect.any(String) as string, ...(each as object) });
    expect(ours).toEqual(Array.isArray(theirs) ? theirs.map(withRaw) : withRaw(theirs));
  });

  it('manifest inspect shows OCI images, by digest too, a line each with --format json', async () => {
    const lines = (await cli.run('manifest', 'inspect', '-v', '--format', 'json', `${name}:oci`)).split('\n');
    const documents = lines.map(
      (line) => JSON.parse(line) as { Descriptor: { digest: string; platform: object } },
    );
    expect(documents.map(({ Descriptor }) => Descriptor.platform)).toEqual([
      { architecture: 'amd64', os: 'linux' },
      { architecture: 'arm64', os: 'linux', variant: 'v8' },
    ]);
    const one = JSON.parse(
      await cli.run('manifest', 'inspect', '--format', 'json', `${name}@${image.digest}`),
    ) as unknown;
    expect(one).toEqual(JSON.parse(image.bytes.toString()));
  });

  it('tags lists them', async () => {
    const tags = (await cli.run('tags', name)).split('\n');
    expect(tags.sort()).toEqual(['1', 'list', 'list-amd64', 'list-arm64', 'oci', 'oci-amd64', 'oci-arm64']);
    const [first = ''] = (await cli.run('tags', '--format', 'json', name)).split('\n');
    expect(JSON.parse(first)).toEqual({
      Repository: name,
      Tag: expect.stringMatching(/^(1|list|oci)/) as string,
    });
  });

  it('referrers lists the signatures of an image that clients keep under a tag', async () => {
    const config = await putBlob(client, Buffer.from('{}'));
    const signature = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA_TYPES.ociManifest,
        artifactType: 'application/vnd.example.signature',
        config: { mediaType: 'application/vnd.oci.empty.v1+json', ...config },
        layers: [],
        subject: { mediaType: MEDIA_TYPES.dockerManifest, digest: image.digest, size: image.bytes.length },
      }),
    );
    const digest = await client.pushManifest('signature', MEDIA_TYPES.ociManifest, signature);
    const entry = { mediaType: MEDIA_TYPES.ociManifest, digest, size: signature.length };
    const artifactType = 'application/vnd.example.signature';
    const index = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.ociIndex,
      manifests: [{ ...entry, artifactType }],
    };
    await client.pushManifest(
      image.digest.replace(':', '-'),
      MEDIA_TYPES.ociIndex,
      Buffer.from(JSON.stringify(index)),
    );
    const table = await cli.run('referrers', `${name}:1`);
    expect(table).toMatch(new RegExp(`^DIGEST .*\\n${digest}\\s+${artifactType}`));
    expect(JSON.parse(await cli.run('referrers', '--format', 'json', `${name}@${image.digest}`))).toEqual({
      ...entry,
      artifactType,
    });
    expect(await cli.run('referrers', `${name}:list`)).toMatch(/^DIGEST[^\n]*$/);
  });

  it('rm-remote deletes a tag with its manifest, where the registry cannot delete a tag alone', async () => {
    const { digest } = await putImage(client, 'gone', { layer: Buffer.from('gone') });
    const ran = await cli.try(['rm-remote', `${name}:gone`]);
    expect(ran.stdout).toBe(`Untagged: ${name}:gone\nDeleted: ${digest}\n`);
    expect(ran.stderr).toMatch(/all tags of this manifest were deleted/);
    const again = await cli.try(['rm-remote', `${name}:gone`]);
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(/^layerstack: ERR_REGISTRY_NOT_FOUND: .*MANIFEST_UNKNOWN/);
  });

  it('rm-remote deletes by digest', async () => {
    const { digest } = await putImage(client, 'byDigest', { layer: Buffer.from('by digest') });
    expect(await cli.run('rm-remote', `${name}@${digest}`)).toBe(`Deleted: ${digest}`);
    expect(await client.headManifest('byDigest')).toBeUndefined();
  });

  it('rm-remote deletes only what its argument names', async () => {
    const ran = await cli.try(['rm-remote', name]);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain('has neither a tag nor a digest');
  });

  it('rm-remote says how to enable deletion in a registry', async () => {
    await using strict = await Registry.start();
    await using other = testClient(`${strict.host}/x`);
    await putImage(other, '1');
    const ran = await cli.try(['rm-remote', `${strict.host}/x:1`]);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(
      /^layerstack: ERR_REGISTRY_UNSUPPORTED: .*REGISTRY_STORAGE_DELETE_ENABLED=true/,
    );
    expect(await other.headManifest('1')).toBeDefined();
  });

  it('registries.json of the root is used, and an error in it names the file', async () => {
    const root = join(scratch, 'other');
    mkdirSync(join(root, 'layerstack'), { recursive: true });
    const settings = join(root, 'layerstack/registries.json');
    // No server listens at this registry; all reads come from its mirror.
    const dead = 'localhost:1';
    writeFileSync(settings, JSON.stringify({ registries: { [dead]: { mirrors: [registry.url] } } }));
    const mirrored = new LayerstackCli(root);
    expect(await mirrored.run('manifest', 'inspect', `${dead}/team/app:1`)).toContain(image.layer.digest);
    writeFileSync(settings, '{"registries":{"localhost:1":{"mirror":[]}}}');
    const ran = await mirrored.try(['tags', `${dead}/team/app`]);
    expect(ran.stderr).toBe(
      `layerstack: ERR_REGISTRY_SETTINGS: ${settings}: registries["localhost:1"] has an unknown key "mirror"; ` +
        'it may have mirrors, allow, insecure, ca, certificate, key, timeoutSeconds\n',
    );
  });

  it('misuse is explained', async () => {
    for (const args of [['manifest', 'push', 'x'], ['manifest', 'inspect'], ['tags']])
      expect((await cli.try(args)).status).toBe(2);
    expect((await cli.try(['tags', `${name}:1`])).stderr).toMatch(
      /ERR_REFERENCE_INVALID.*repository's name alone/,
    );
  });
});
