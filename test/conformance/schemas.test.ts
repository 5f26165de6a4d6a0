/**
 * Every document that layerstack writes for others, against the JSON schemas of image-spec and runtime-spec
 * (of Debian's golang-github-opencontainers-{image-spec,specs}-dev).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/index.ts';
import { docker25Archive, v1Archive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { must, mustRun } from '../support/process.ts';
import { havePeers } from '../support/peers.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { Schemas } from './support/schemas.ts';

interface Described {
  readonly digest: string;
}

describe.runIf(havePeers('docker-registry'))('what is written for others', () => {
  const image = new Schemas('image-spec');
  const runtime = new Schemas('runtime-spec');
  let scratch: string;
  let store: Layerstack;
  let registry: Registry;
  const names: string[] = [];

  beforeAll(async () => {
    scratch = makeScratch('schemas');
    store = await Layerstack.open({ root: join(scratch, 'root') });
    registry = await Registry.start();
    const rootfs = tar([{ name: 'file', content: 'x' }]);
    const name = (part: string): string => {
      names.push(`${registry.host}/${part}:1`);
      return names.at(-1) ?? '';
    };
    await store.images.import(Readable.from([rootfs]), { reference: name('bare') });
    const changes = [
      'ENV A=b',
      'EXPOSE 80',
      'VOLUME /v',
      'LABEL a=b',
      'USER 7',
      'ONBUILD RUN x',
      'WORKDIR /w',
      'STOPSIGNAL 9',
    ];
    await store.images.import(Readable.from([rootfs]), { reference: name('changed'), changes, message: 'm' });
    const old = await store.images.load(
      Readable.from([tar(v1Archive(imageOf([layerOf({ a: 'a' })], { tags: ['old:1'] })))]),
    );
    const whole = imageOf([layerOf({ a: 'a' }), layerOf({ b: 'b' })], { tags: [name('loaded')] });
    await store.images.load(Readable.from([tar(docker25Archive([whole]))]));
    await store.images.tag(old.images[0]?.id ?? '', name('old'));

    for (const from of names.slice(0, 3)) {
      const { id } = await store.containers.create(from, { command: ['/x'] });
      // One without a change, which makes no layer, and one with.
      await store.containers.commit(id, { reference: name(`unchanged-${String(names.length)}`) });
      await store.containers.putArchive(id, '/', Readable.from([tar([{ name: 'new', content: 'y' }])]));
      await store.containers.commit(id, {
        reference: name(`committed-${String(names.length)}`),
        author: 'me',
        message: 'why',
        changes: ['ENTRYPOINT [""]', 'CMD ["/x"]'],
      });
      await store.containers.bundle(id, join(scratch, `bundle-${String(names.length)}`), { user: '0' });
      await store.containers.unmount(id);
    }
  });

  afterAll(async () => {
    await store.close();
    await registry.stop();
    await dropScratch(scratch);
  });

  it('the schemas refuse invalid documents', () => {
    expect(image.errors('config-schema.json', '{"os":"linux","config":{"Env":null}}')).toMatch(
      /Env should be array.*rootfs/,
    );
    expect(runtime.errors('config-schema.json', '{"process":{"args":1}}')).toMatch(/args should be array/);
    expect(image.errors('image-manifest-schema.json', '{"schemaVersion":2}')).toMatch(/layers/);
  });

  it('configs of images that were imported, committed, converted and loaded', async () => {
    const folder = join(scratch, 'root/image/overlay2/imagedb/content/sha256');
    const found: Record<string, string> = {};
    for (const id of readdirSync(folder)) {
      const content = readFileSync(join(folder, id));
      const errors = image.errors('config-schema.json', content);
      if (errors !== '') found[errors] = content.toString();
    }
    expect(found).toEqual({});
    expect(readdirSync(folder).length).toBeGreaterThan(8);
    expect((await store.images.inspect(names[0] ?? '')).Config).toMatchObject({ Env: null });
  });

  it.each(['oci', 'docker'] as const)('what save --format %s writes', async (format) => {
    const folder = join(scratch, format);
    const archive = join(scratch, `${format}.tar`);
    await mustRun('sh', ['-c', 'mkdir "$1" && cat >"$2"', 'sh', folder, archive], {
      input: await bytesOf(store.images.save(names, { format })),
    });
    await must('tar', ['-C', folder, '-xf', archive]);
    const read = (path: string): Buffer => readFileSync(join(folder, path));
    const blob = ({ digest }: Described): Buffer => read(`blobs/sha256/${digest.slice(7)}`);
    expect(image.errors('image-layout-schema.json', read('oci-layout'))).toBe('');
    expect(image.errors('image-index-schema.json', read('index.json'))).toBe('');
    const { manifests } = JSON.parse(read('index.json').toString()) as { manifests: Described[] };
    expect(manifests.length).toBeGreaterThanOrEqual(names.length - 3);
    for (const manifest of manifests) {
      expect(image.errors('image-manifest-schema.json', blob(manifest))).toBe('');
      const { config } = JSON.parse(blob(manifest).toString()) as { config: Described };
      expect(image.errors('config-schema.json', blob(config))).toBe('');
    }
  });

  it('manifests and configs that are pushed', async () => {
    for (const [index, name] of names.entries()) {
      await store.registry.push(name, { format: 'oci', compression: index % 2 === 0 ? 'gzip' : 'zstd' });
      const [, repository = ''] = /^[^/]+\/(.*):1$/.exec(name) ?? [];
      const get = async (path: string): Promise<Buffer> => {
        const accept = 'application/vnd.oci.image.manifest.v1+json';
        const answer = await fetch(`http://${registry.host}/v2/${repository}/${path}`, {
          headers: { accept },
        });
        expect(answer.status).toBe(200);
        return Buffer.from(await answer.arrayBuffer());
      };
      const manifest = await get('manifests/1');
      expect(image.errors('image-manifest-schema.json', manifest)).toBe('');
      const { config } = JSON.parse(manifest.toString()) as { config: Described };
      expect(image.errors('config-schema.json', await get(`blobs/${config.digest}`))).toBe('');
    }
  });

  it('configs of bundles', () => {
    const bundles = readdirSync(scratch).filter((name) => name.startsWith('bundle-'));
    expect(bundles).toHaveLength(3);
    for (const bundle of bundles)
      expect(runtime.errors('config-schema.json', readFileSync(join(scratch, bundle, 'config.json')))).toBe(
        '',
      );
  });
});

async function bytesOf(stream: Readable): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
