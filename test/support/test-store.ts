/**
 * The starting point of the container tests: a scratch store with one image that can run busybox, loaded from
 * a docker-archive that is built here.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Layerstack } from '../../src/app/layerstack.ts';
import { findProgram } from './peers.ts';
import { dropScratch, makeScratch } from './scratch.ts';
import { tar, type TarMember } from './tar.ts';

export const IMAGE = 'app:1';

const sha256 = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Layers of the small image; it has no program to run. */
export const LAYERS: readonly (readonly TarMember[])[] = [
  [
    { name: 'etc', type: 'directory' },
    {
      name: 'etc/passwd',
      content: 'root:x:0:0:root:/root:/bin/sh\nmason:x:1000:100:m:/home/mason:/bin/sh\n',
    },
    { name: 'etc/group', content: 'root:x:0:\nusers:x:100:\nbuilders:x:2000:mason\n' },
    { name: 'house', type: 'directory' },
    { name: 'house/concrete', content: 'bad concrete\n' },
    { name: 'house/rebar', content: 'rebar\n' },
  ],
  [
    { name: 'house', type: 'directory' },
    { name: 'house/concrete', content: 'good concrete\n' },
    { name: 'house/marble', content: 'marble\n' },
  ],
];

/** Returns a layer with busybox, which must be a static one. */
export function busyboxLayer(): TarMember[] {
  const path = findProgram('busybox');
  if (path === undefined) throw new Error('these tests run busybox in containers: install busybox-static');
  return [
    { name: 'bin', type: 'directory' },
    { name: 'bin/busybox', content: readFileSync(path), mode: 0o755 },
    ...['sh', 'cat', 'id', 'env', 'pwd', 'hostname', 'sleep'].map((name): TarMember => ({
      name: `bin/${name}`,
      type: 'symlink',
      linkname: 'busybox',
    })),
  ];
}

/** Packs a docker-archive of one image. */
export function archiveOfMembers(
  layers: readonly (readonly TarMember[])[],
  config: Record<string, unknown> = {},
  reference: string | null = IMAGE,
): Buffer {
  const tars = layers.map((members) => tar(members));
  const document = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    created: '2024-01-02T03:04:05Z',
    config,
    rootfs: { type: 'layers', diff_ids: tars.map((bytes) => `sha256:${sha256(bytes)}`) },
  });
  const manifest = [
    {
      Config: 'config.json',
      RepoTags: reference === null ? null : [reference],
      Layers: tars.map((_, index) => `${index}.tar`),
    },
  ];
  return tar([
    ...tars.map((content, index) => ({ name: `${index}.tar`, content })),
    { name: 'config.json', content: document },
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ]);
}

export async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

/** A scratch store with the small image in it. */
export class TestStore implements AsyncDisposable {
  readonly scratch: string;
  readonly root: string;
  store: Layerstack;

  private constructor(scratch: string, store: Layerstack) {
    this.scratch = scratch;
    this.root = store.root;
    this.store = store;
  }

  static async build(
    archive: Uint8Array = archiveOfMembers(LAYERS, { Cmd: ['/bin/true'] }),
  ): Promise<TestStore> {
    const scratch = makeScratch('store');
    try {
      const store = await Layerstack.open({ root: join(scratch, 'store') });
      await store.images.load(chunks(archive));
      return new TestStore(scratch, store);
    } catch (error) {
      await dropScratch(scratch);
      throw error;
    }
  }

  /** Returns a path in the store. */
  at(path: string): string {
    return join(this.root, path);
  }

  text(path: string): string {
    return readFileSync(this.at(path), 'utf8');
  }

  /** Closes the store and opens it again, like another process would. */
  async reopen(): Promise<void> {
    await this.store.close();
    this.store = await Layerstack.open({ root: this.root });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.store.close();
    } finally {
      await dropScratch(this.scratch);
    }
  }
}
