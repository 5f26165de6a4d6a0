/** Images in memory: layers as tars, a config, names. archives.ts packs them in every format. */
import {
  chainIds,
  digestOf,
  type ChainID,
  type DiffID,
  type Digest,
  type ImageID,
} from '../../src/core/digest.ts';
import { tar, type TarItem } from './tar.ts';

export interface TestLayer {
  /** Uncompressed. */
  readonly tar: Buffer;
  readonly diffId: DiffID;
}

export interface TestImage {
  readonly config: Buffer;
  readonly id: ImageID;
  readonly layers: readonly TestLayer[];
  /** Bottom to top. */
  readonly chain: readonly ChainID[];
  readonly tags: readonly string[];
  readonly parent?: TestImage | undefined;
  readonly platform: { readonly os: string; readonly architecture: string };
}

/** Returns a layer of these members, or of files by name and content. */
export function layerOf(content: readonly TarItem[] | Readonly<Record<string, string>>): TestLayer {
  const items = Array.isArray(content)
    ? (content as readonly TarItem[])
    : Object.entries(content as Record<string, string>).map(([name, text]) => ({ name, content: text }));
  return layerFrom(tar(items));
}

/** Returns a layer with these bytes, which need not be a tar. */
export function layerFrom(bytes: Buffer): TestLayer {
  return { tar: bytes, diffId: digestOf(bytes) as Digest as DiffID };
}

export interface ImageOptions {
  readonly tags?: readonly string[];
  readonly parent?: TestImage;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
  /** The `config` member of the config. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Additional or replaced members of the document; undefined removes one. */
  readonly document?: Readonly<Record<string, unknown>>;
}

/** Returns an image whose history has one step for each layer. */
export function imageOf(layers: readonly TestLayer[], options: ImageOptions = {}): TestImage {
  const platform = options.platform ?? { os: 'linux', architecture: 'amd64' };
  const diffIds = layers.map(({ diffId }) => diffId);
  const document = {
    ...platform,
    config: { Cmd: ['/bin/sh'], ...options.config },
    created: '2024-01-02T03:04:05Z',
    history: layers.map((_, index) => ({
      created: '2024-01-02T03:04:05Z',
      created_by: `step ${String(index)}`,
    })),
    rootfs: { type: 'layers', diff_ids: diffIds },
    ...options.document,
  };
  const config = Buffer.from(JSON.stringify(document));
  return {
    config,
    id: digestOf(config) as Digest as ImageID,
    layers,
    chain: chainIds(diffIds),
    tags: options.tags ?? [],
    parent: options.parent,
    platform,
  };
}
