/**
 * Checks imagedb, repositories.json and docker's distribution cache (docs/docker-overlay2-store.md, "Failure
 * modes a better store should detect and repair"). Every config must match its digest and have its layers,
 * every name must have an image, and there must not be metadata for missing images. Configs cannot be
 * repaired. References to missing objects can be dropped.
 */
import { pause, throwIfAborted } from '../core/abort.ts';
import {
  chainIdOf,
  chainIds,
  digestOfHex,
  hexOf,
  imageIdOf,
  isDigest,
  isHex64,
  topChainId,
  type ChainID,
  type ImageID,
} from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import * as json from '../core/json.ts';
import { formatReference } from '../core/reference.ts';
import type { Problem } from '../core/store-finding.ts';
import type { KnownLayer } from '../layer/check-entry.ts';
import type { LayerStore } from '../layer/store.ts';
import { untilPlanted, unlessPlanted } from '../system/check-entries.ts';
import { call, native } from '../system/native.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { isPlanted, readStoreFile, statEntry } from '../system/store-files.ts';
import { parseImageConfig, type ImageConfig } from './config.ts';
import { ImageDb } from './imagedb.ts';
import type { RebuiltNames } from './names-copy.ts';
import { Repositories } from './repositories.ts';

export interface ImageCheckOptions {
  readonly signal?: AbortSignal | undefined;
}

/** Far longer than a change takes. */
const CHANGE_MS = 200;
/** Enough for a file of the distribution cache, which has at most fifty entries. */
const MAX_CACHE_FILE = 1024 * 1024;

const decodeSources = json.array(json.object({ Digest: json.string, SourceRepository: json.string }));

/** Returns the configs of all readable images. */
export async function readConfigs(root: Root): Promise<ImageConfig[]> {
  const db = new ImageDb(root);
  const configs: ImageConfig[] = [];
  for (const id of await db.ids()) {
    const config = await readConfig(db, id);
    if (config !== undefined && !LayerstackError.is(config)) configs.push(config);
  }
  return configs;
}

async function readConfig(db: ImageDb, id: ImageID): Promise<ImageConfig | LayerstackError | undefined> {
  try {
    const raw = await db.read(id);
    return raw && parseImageConfig(raw);
  } catch (error) {
    if (LayerstackError.is(error)) return error;
    throw error;
  }
}

export async function* checkImages(
  root: Root,
  layers: Pick<LayerStore, 'findAll' | 'collect' | 'collectable'>,
  options: ImageCheckOptions,
): AsyncGenerator<Problem> {
  const checks = [
    checkChange(root),
    checkConfigs(root, layers, options),
    checkMetadata(root),
    checkNames(root),
    checkDistribution(root, options),
    checkUnused(root, layers),
  ];
  for (const check of checks) yield* untilPlanted(check);
}

/** Checks for a pending change. A living writer completes it within milliseconds. */
async function* checkChange(root: Root): AsyncGenerator<Problem> {
  const { layout, changes } = root;
  const path = layout.pendingChange;
  const there = (): number | undefined => statEntry(layout.at(path))?.ino;
  const found = there();
  if (found === undefined) return;
  await pause(CHANGE_MS);
  if (there() !== found) return;
  yield {
    code: 'change-unfinished',
    severity: 'warning',
    path,
    message:
      changes.pending() === undefined
        ? 'an interrupted change of images or names; dockerd has run since, so the change is dropped'
        : 'a change of images or names that was interrupted after its rename; readers see it as completed',
    advice: 'the next writer completes it',
    repair: async () => {
      await new Repositories(root).change(() => undefined);
    },
  };
}

/** Checks for leftovers of removals, and of loads, pulls, imports and commits that failed or died. */
async function* checkUnused(
  root: Root,
  layers: Pick<LayerStore, 'collect' | 'collectable'>,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const noted = (await listEntries(layout, layout.unused))
    .filter(isHex64)
    .map((name) => chainIdOf(digestOfHex(name)));
  const tops = async (): Promise<ChainID[]> =>
    (await readConfigs(root)).flatMap(({ diffIds }) => topChainId(diffIds) ?? []);
  for (const { chainId } of await layers.collectable(noted, tops))
    yield {
      code: 'layer-unused',
      severity: 'warning',
      path: layout.layer(chainId),
      message: `no image and no container has layer ${chainId}; the operation that needed it was interrupted, or is still under way`,
      advice: 'the next writer that opens the store removes it, unless another process needs it',
      repair: async () => {
        await layers.collect([chainId], tops);
      },
    };
}

async function* checkConfigs(
  root: Root,
  layers: Pick<LayerStore, 'findAll'>,
  { signal }: ImageCheckOptions,
): AsyncGenerator<Problem> {
  const db = new ImageDb(root);
  for (const id of await db.ids()) {
    throwIfAborted(signal);
    const path = db.contentPath(id);
    const config = await readConfig(db, id);
    if (config === undefined) continue;
    if (LayerstackError.is(config)) {
      const advice = `load or pull the image again, or delete ${path} and its names`;
      yield { code: 'image-damaged', severity: 'error', path, message: config.message, advice };
      continue;
    }
    const chain = chainIds(config.diffIds);
    const found = await unlessPlanted(layers.findAll(chain));
    const missing = found?.findIndex((layer) => layer === undefined) ?? -1;
    if (missing >= 0)
      yield {
        code: 'image-incomplete',
        severity: 'error',
        path,
        message: `image ${hexOf(id).slice(0, 12)} lacks layer ${String(chain[missing])}, so docker does not list it`,
        advice: 'load or pull it again, or remove it by its id (rmi)',
      };
  }
}

/**
 * Checks for metadata without an image. A crash leaves it, or a manual change: dockerd deletes metadata
 * before content, and layerstack writes it first.
 */
async function* checkMetadata(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  const db = new ImageDb(root);
  for (const name of await listEntries(layout, layout.imageMetadatas)) {
    const id = imageIdOf(digestOfHex(name));
    if (!isHex64(name) || db.has(id)) continue;
    const path = layout.imageMetadata(id);
    yield {
      code: 'image-metadata',
      severity: 'warning',
      path,
      message: 'metadata of an image that is not in the store',
      advice: 'repair removes it',
      repair: async () => {
        root.session();
        // Metadata is written before the content, so a writer may be about to add the image.
        await new Repositories(root).change(async () => {
          if (!db.has(id)) await call(native.removeTree(layout.root, path));
        });
      },
    };
  }
}

async function* checkNames(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  const path = layout.repositories;
  const db = new ImageDb(root);
  const repositories = new Repositories(root);
  for (const { path, message } of await repositories.damaged())
    yield {
      code: 'names-unreadable',
      severity: 'error',
      path,
      message,
      advice: `repair writes it again ${sourcesOf(await repositories.rebuilt(path))}; the damaged file is kept beside it`,
      repair: () => repositories.restore(path),
    };
  if ((await repositories.damaged()).length > 0) return;
  const names = await repositories.read();
  for (const { key, familiar } of names.strays())
    yield {
      code: 'name-spelling',
      severity: 'warning',
      path,
      message: `the name ${JSON.stringify(key)} is not in docker's form, so it names nothing`,
      advice:
        familiar === undefined
          ? 'remove it from the file while no process uses the store'
          : `repair renames it to ${familiar}, unless another image has that name`,
      repair:
        familiar === undefined
          ? undefined
          : async () => {
              await repositories.change((references) => references.respell(key));
            },
    };
  for (const [id, references] of (await repositories.read()).byImage())
    for (const reference of references) {
      if (isDigest(id) && db.has(id)) continue;
      yield {
        code: 'name-dangling',
        severity: 'warning',
        path,
        message: `${JSON.stringify(formatReference(reference))} names ${id}, which is not in the store`,
        advice: 'load or pull the image again; repair forgets the name',
        repair: async () => {
          await repositories.change(async (current) => {
            if (!(isDigest(id) && db.has(id))) current.delete(reference);
          });
        },
      };
    }
}

/** Says how many names a repair writes, and where they come from. */
function sourcesOf({ salvaged, copied, dropped, isOld }: RebuiltNames): string {
  const age = isOld ? ', which is older than the last start of dockerd' : '';
  const gone =
    dropped === 0 ? '' : `; ${String(dropped)} other names belong to images that are not in the store`;
  return `with ${String(salvaged)} names that it still has, and ${String(copied)} names of its last good copy${age}${gone}`;
}

/** Checks docker's cache of registry blobs. An invalid file in it makes dockerd fail to push the layer. */
async function* checkDistribution(root: Root, { signal }: ImageCheckOptions): AsyncGenerator<Problem> {
  const { layout } = root;
  const kinds = [
    {
      directory: layout.diffIdsByDigest,
      isFine: (bytes: Uint8Array) => isDigest(Buffer.from(bytes).toString()),
    },
    { directory: layout.sourcesByDiffId, isFine: isSources },
  ];
  for (const { directory, isFine } of kinds)
    for (const name of await listEntries(layout, directory)) {
      throwIfAborted(signal);
      const path = `${directory}/${name}`;
      const bytes = await readStoreFile(layout.at(path), MAX_CACHE_FILE).catch((error: unknown) => {
        if (LayerstackError.is(error) && !isPlanted(error)) return new Uint8Array();
        throw error;
      });
      if (bytes === undefined || (isHex64(name) && isFine(bytes))) continue;
      yield {
        code: 'distribution-cache',
        severity: 'warning',
        path,
        message: 'an invalid entry in the cache of registry blobs',
        advice: 'repair removes it; the next push or pull of the layer may then be slower',
        repair: async () => {
          root.session();
          await call(native.batch(layout.root, [{ op: 'unlink', path, missing: true }]));
        },
      };
    }
}

function isSources(bytes: Uint8Array): boolean {
  const source = { what: 'sources', code: 'ERR_STORE_CORRUPT', maxBytes: MAX_CACHE_FILE } as const;
  try {
    return json.decodeJson(decodeSources, bytes, source).every(({ Digest }) => isDigest(Digest));
  } catch (error) {
    if (LayerstackError.is(error)) return false;
    throw error;
  }
}

/** Returns the DiffID and the parent that each layer must have in layerdb, from the images' configs. */
export function knownLayers(configs: readonly ImageConfig[]): Map<ChainID, KnownLayer> {
  const known = new Map<ChainID, KnownLayer>();
  for (const { diffIds } of configs) {
    let parent: ChainID | undefined;
    for (const [index, chainId] of chainIds(diffIds).entries()) {
      const diffId = diffIds[index];
      if (diffId !== undefined) known.set(chainId, { diffId, parent });
      parent = chainId;
    }
  }
  return known;
}
