/**
 * Checks containers: each has its config, its entry in layerdb's mounts, its layers and a stack that can be mounted; nothing keeps
 * layers for a container that is gone, and no mount point is left of a mount that is gone. What was written in a container is never
 * touched, even where the container cannot be used. See docs/docker-overlay2-store.md, "Failure modes a better store should detect
 * and repair".
 */
import { throwIfAborted } from '../core/abort.ts';
import { isDigest, isHex64, type ChainID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Suspect } from '../core/store-finding.ts';
import { checkOverlay, stackOf } from '../layer/check-overlay.ts';
import type { LayerStore } from '../layer/store.ts';
import type { Layout } from '../system/layout.ts';
import { mountState } from '../system/mounts.ts';
import { call, native } from '../system/native.ts';
import { isEntryName, listEntries, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { CONTAINER_FILES, missingIn, readContainerFile } from './decodable.ts';
import { hasDirectory, readLink, readText, statEntry } from '../system/store-files.ts';
import { MAX_DOCUMENT_BYTES, readContainer, type Container } from './record.ts';

export interface ContainerCheckOptions {
  readonly signal?: AbortSignal | undefined;
}

/** The directories of overlay2 that containers have, usable or not. */
export async function containerOverlays(root: Root): Promise<Set<string>> {
  const { layout } = root;
  const found = new Set<string>();
  for (const name of await listEntries(layout, layout.mounts))
    for (const file of ['mount-id', 'init-id'] as const) {
      const id = await readEntry(layout, layout.mount(name, file));
      if (id !== undefined) found.add(id);
    }
  return found;
}

export async function* checkContainers(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  { signal }: ContainerCheckOptions,
): AsyncGenerator<Suspect> {
  const { layout } = root;
  const directories = await listEntries(layout, layout.containers);
  for (const id of directories.filter(isHex64)) {
    throwIfAborted(signal);
    const undecodable = checkDocuments(layout, id);
    yield* undecodable;
    const container = readContainer(layout, id);
    if (container) yield* checkContainer(root, layers, container);
    else if (undecodable.length === 0) yield* checkBroken(root, id);
  }
  yield* checkMounts(root);
  yield* checkNameIndex(root);
}

/** Of the documents those that dockerd cannot decode: it then has no such container, or does not start. */
function checkDocuments(layout: Layout, id: string): Suspect[] {
  return CONTAINER_FILES.flatMap((name) => {
    const path = layout.container(id, name);
    const text = readText(layout.at(path), MAX_DOCUMENT_BYTES);
    if (text === undefined) return [];
    const finding = (message: string): Suspect => ({
      code: 'container-undecodable',
      severity: 'error',
      path,
      message,
      advice: `docker does not list container ${id.slice(0, 12)}: mend the file while nobody uses the store, or rm it`,
    });
    try {
      const what = `container ${id.slice(0, 12)}: ${name}`;
      const bytes = Buffer.from(text);
      const document = readContainerFile(name, bytes, { what, code: 'ERR_STORE_CORRUPT' });
      const missing = missingIn(name, bytes, document);
      return missing === undefined
        ? []
        : [finding(`${what}: it has no ${missing}, on which dockerd crashes`)];
    } catch (error) {
      if (!LayerstackError.is(error)) throw error;
      return [finding(error.message)];
    }
  });
}

async function* checkContainer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  container: Container,
): AsyncGenerator<Suspect> {
  const { layout } = root;
  const { id, mountId, initId, name, parent } = container;
  const owner = `container ${name}`;
  const broken = (path: string, message: string): Suspect => ({
    code: 'container-incomplete',
    severity: 'error',
    path,
    message: `${owner}: ${message}`,
    advice: `save what is of use in ${layout.overlay(mountId, 'diff')}, then remove the container (rm)`,
  });
  const overlays = initId === undefined ? [mountId] : [mountId, initId];
  const missing = overlays.find((overlay) => !hasDirectory(layout.at(layout.overlay(overlay, 'diff'))));
  if (missing !== undefined) {
    // Removed meanwhile, perhaps.
    if (readContainer(layout, id))
      yield broken(layout.overlay(missing, 'diff'), 'its writable layer is missing');
    return;
  }
  const below = parent === undefined ? [] : await stackOfLayer(root, layers, parent);
  if (below === undefined)
    yield {
      ...broken(layout.mount(id, 'parent'), `its image's layer ${String(parent)} is missing`),
      advice: 'load or pull its image again',
    };
  let lowers = below;
  if (initId !== undefined) {
    yield* checkOverlay(root, { id: initId, owner: `the init layer of ${owner}`, lowers, hasChildren: true });
    lowers = await stackOf(root, initId, lowers);
  }
  yield* checkOverlay(root, { id: mountId, owner, lowers, hasChildren: false });
  const merged = layout.overlay(mountId, 'merged');
  if (statEntry(layout.at(merged)) !== undefined && (await mountState(layout.at(merged))) === 'none')
    yield {
      code: 'mount-leftover',
      severity: 'note',
      path: merged,
      message: `${owner} is not mounted, but has a mount point`,
      advice: 'repair removes it; the next mount would use it',
      repair: async () => {
        root.session();
        await using lock = await root.locks.acquire('containers', id);
        void lock;
        if ((await mountState(layout.at(merged))) === 'none')
          await call(native.batch(layout.root, [{ op: 'rmdir', path: merged, missing: true }]));
      },
    };
}

/** The stack that a layer tops, by its own files: whether they are right is checked with the layers. */
async function stackOfLayer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  chainId: ChainID,
): Promise<readonly string[] | undefined> {
  const layer = await layers.find(chainId);
  if (layer === undefined) return undefined;
  const lower = (await readEntry(root.layout, root.layout.overlay(layer.cacheId, 'lower'))) ?? '';
  return stackOf(root, layer.cacheId, lower === '' ? [] : lower.split(':'));
}

async function* checkBroken(root: Root, id: string): AsyncGenerator<Suspect> {
  const { layout } = root;
  const hasConfig = statEntry(layout.at(layout.container(id, 'config.v2.json'))) !== undefined;
  const hasMount = statEntry(layout.at(layout.mount(id))) !== undefined;
  const marked = await allMarkers(layout);
  if (marked.has(`container.${id}`) || statEntry(layout.at(layout.container(id))) === undefined) return;
  const path = layout.container(id);
  if (!hasConfig && !hasMount) {
    yield {
      code: 'unfinished',
      severity: 'warning',
      path,
      message: 'what is left of a container that was removed or never made',
      advice: 'repair removes it',
      repair: async () => {
        root.session();
        await call(native.removeTree(layout.root, path));
      },
    };
    return;
  }
  yield {
    code: 'container-incomplete',
    severity: 'error',
    path,
    message: hasConfig
      ? `container ${id.slice(0, 12)} has ${hasMount ? 'a config that cannot be read' : 'no entry in layerdb/mounts'}`
      : `container ${id.slice(0, 12)} has no config`,
    advice:
      'docker does not list it, and it cannot be mounted: delete the directory when nothing in it is of use',
  };
}

async function* checkMounts(root: Root): AsyncGenerator<Suspect> {
  const { layout } = root;
  for (const name of await listEntries(layout, layout.mounts)) {
    if (statEntry(layout.at(layout.container(name))) !== undefined) continue;
    if (
      (await allMarkers(layout)).has(`container.${name}`) ||
      statEntry(layout.at(layout.mount(name))) === undefined
    )
      continue;
    const mountId = await readEntry(layout, layout.mount(name, 'mount-id'));
    const parent = await readEntry(layout, layout.mount(name, 'parent'));
    const keeps = parent !== undefined && isDigest(parent) ? `, and keeps layer ${parent}` : '';
    yield {
      code: 'mount-orphan',
      severity: 'warning',
      path: layout.mount(name),
      message: `a writable layer of no container${keeps}`,
      advice:
        mountId !== undefined && isEntryName(mountId)
          ? `save what is of use in ${layout.overlay(mountId, 'diff')}, then delete this entry; fsck names its directories then`
          : 'delete this entry',
    };
  }
}

async function* checkNameIndex(root: Root): AsyncGenerator<Suspect> {
  const { layout } = root;
  for (const name of await listEntries(layout, layout.names)) {
    const path = layout.name(name);
    const id = name === '.stamp' ? undefined : readLink(layout.at(path));
    if (id === undefined || !isHex64(id)) continue;
    if (readContainer(layout, id)?.name === name || (await allMarkers(layout)).has(`container.${id}`))
      continue;
    yield {
      code: 'name-index',
      severity: 'note',
      path,
      message: `no container is called ${name} any more`,
      advice: 'repair removes the entry; whoever makes a container of this name would, too',
      repair: async () => {
        root.session();
        await using lock = await root.locks.acquire('containers', `name:${name}`);
        void lock;
        if (readContainer(layout, id)?.name !== name)
          await call(native.batch(layout.root, [{ op: 'unlink', path, missing: true }]));
      },
    };
  }
}
