/** A root directory for the image stores, without what needs privileges (the layer store, dockerd's lock). */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { chainIds, digestOf, type ChainID, type DiffID } from '../../../src/core/digest.ts';
import { LayerstackError } from '../../../src/core/errors.ts';
import { parseImageConfig, type ImageConfig } from '../../../src/image/config.ts';
import type { Layer, LayerStore } from '../../../src/layer/store.ts';
import { Changes } from '../../../src/system/changes.ts';
import { Layout } from '../../../src/system/layout.ts';
import { Locks } from '../../../src/system/lock.ts';
import type { Root } from '../../../src/system/root.ts';
import { Session } from '../../../src/system/session.ts';

export interface TestRoot {
  readonly root: Root;
  readonly path: string;
  /** The warnings in the log. */
  readonly warnings: string[];
}

/** Opens a new root, or (for a second process's view) the one at `path`. It is removed after the test. */
export async function testRoot(options: { readOnly?: boolean; path?: string } = {}): Promise<TestRoot> {
  const path = options.path ?? (await mkdtemp(join(tmpdir(), 'layerstack-image-')));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  const layout = new Layout(path);
  const { imageContents, imageMetadatas, layers, locks, sessions } = layout;
  const directories = [imageContents, imageMetadatas, layers, locks, sessions];
  for (const directory of directories) await mkdir(layout.at(directory), { recursive: true, mode: 0o700 });
  const warnings: string[] = [];
  const session = new Session(layout);
  onTestFinished(() => session.close());
  const ignore = (): void => undefined;
  const log = {
    debug: ignore,
    info: ignore,
    error: ignore,
    warn: (message: string) => warnings.push(message),
  };
  const root = {
    layout,
    locks: new Locks(layout.at(layout.locks)),
    changes: new Changes(layout, log),
    log,
    readOnly: options.readOnly ?? false,
    session() {
      if (options.readOnly) throw new LayerstackError('ERR_STORE_READ_ONLY', 'read-only');
      return session;
    },
  };
  return { root: root as unknown as Root, path, warnings };
}

/** Layers that exist by assertion: each has as many bytes as its number. */
export class FakeLayers {
  readonly #layers = new Map<ChainID, Layer>();
  reads = 0;

  /** The DiffIDs of layers `numbers`, which from now on exist on each other. */
  add(...numbers: number[]): DiffID[] {
    const diffIds = numbers.map((number) => digestOf(`layer ${number}`) as DiffID);
    const chain = chainIds(diffIds);
    for (const [index, chainId] of chain.entries()) {
      const parent = chain[index - 1];
      const layer = {
        chainId,
        diffId: diffIds[index] as DiffID,
        cacheId: `cache${numbers[index]}`,
        size: numbers[index],
      };
      this.#layers.set(chainId, (parent === undefined ? layer : { ...layer, parent }) as Layer);
    }
    return diffIds;
  }

  /** Makes the layers visible on disk, which is all that the catalog looks at. */
  async publish(root: Root, diffIds: readonly DiffID[]): Promise<void> {
    for (const chainId of chainIds(diffIds))
      await mkdir(root.layout.at(root.layout.layer(chainId)), { recursive: true });
  }

  async unpublish(root: Root, chainId: ChainID): Promise<void> {
    this.remove(chainId);
    await rm(root.layout.at(root.layout.layer(chainId)), { recursive: true });
  }

  remove(chainId: ChainID): void {
    this.#layers.delete(chainId);
  }

  get store(): LayerStore {
    const find = (chainId: ChainID): Layer => {
      this.reads++;
      const layer = this.#layers.get(chainId);
      if (layer === undefined) throw new LayerstackError('ERR_LAYER_NOT_FOUND', chainId, { layer: chainId });
      return layer;
    };
    return {
      pin: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
      forgetUnused: () => Promise.resolve(),
      hasBothForms: () => false,
      get: (chainId: ChainID) => Promise.resolve().then(() => find(chainId)),
      size: (chainId: ChainID) => (this.#layers.has(chainId) ? find(chainId).size : undefined),
      chain: (chainId: ChainID) =>
        Promise.resolve().then(() => {
          const chain: Layer[] = [];
          for (let next: ChainID | undefined = chainId; next !== undefined; next = chain.at(-1)?.parent) {
            chain.push(find(next));
          }
          return chain;
        }),
    } as unknown as LayerStore;
  }
}

/** A config with these layers; `more` are further members. */
export function imageConfig(diffIds: readonly DiffID[], more: object = {}): ImageConfig {
  return parseImageConfig(
    Buffer.from(JSON.stringify({ os: 'linux', ...more, rootfs: { type: 'layers', diff_ids: diffIds } })),
  );
}
