/**
 * Checks containers (docs/docker-overlay2-store.md, "Failure modes a better store should detect and repair").
 * Each must have its config, its entry in layerdb's mounts, its layers and a stack that can be mounted
 * (rwlayer/check.ts). An entry must not keep layers for a removed container, and a mount point must not
 * remain after its mount has ended. A repair never touches the content of a container, even if the container
 * is unusable.
 */
import { throwIfAborted } from '../core/abort.ts';
import { isDigest, isHex64 } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import type { LayerStore } from '../layer/store.ts';
import { checkRwLayer } from '../rwlayer/check.ts';
import { untilPlanted } from '../system/check-entries.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { isEntryName, listEntries, readEntry } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import { allMarkers } from '../system/session.ts';
import { CONTAINER_FILES, missingIn, readContainerFile } from './decodable.ts';
import { readLink, readText, statEntry } from '../system/store-files.ts';
import { MAX_DOCUMENT_BYTES, readContainer, rwLayerOf } from './record.ts';

export interface ContainerCheckOptions {
  readonly signal?: AbortSignal | undefined;
}

export async function* checkContainers(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  { signal }: ContainerCheckOptions,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const directories = await listEntries(layout, layout.containers);
  for (const id of directories.filter(isHex64)) {
    throwIfAborted(signal);
    yield* untilPlanted(checkContainer(root, layers, id));
  }
  yield* untilPlanted(checkMounts(root));
  yield* untilPlanted(checkNameIndex(root));
}

async function* checkContainer(
  root: Root,
  layers: Pick<LayerStore, 'find'>,
  id: string,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const undecodable = checkDocuments(layout, id);
  yield* undecodable;
  const container = readContainer(layout, id);
  if (container) yield* checkRwLayer(root, layers, rwLayerOf(container), () => !!readContainer(layout, id));
  else if (undecodable.length === 0) yield* checkBroken(root, id);
}

/**
 * Finds the documents that dockerd cannot decode. Because of them, it does not list the container, or does
 * not start.
 */
function checkDocuments(layout: Layout, id: string): Problem[] {
  return CONTAINER_FILES.flatMap((name) => {
    const path = layout.container(id, name);
    const text = readText(layout.at(path), MAX_DOCUMENT_BYTES);
    if (text === undefined) return [];
    const finding = (message: string): Problem => ({
      code: 'container-undecodable',
      severity: 'error',
      path,
      message,
      advice: `docker does not list container ${id.slice(0, 12)}: repair the file by hand while no process uses the store, or remove the container (rm)`,
    });
    try {
      const what = `container ${id.slice(0, 12)}: ${name}`;
      const bytes = Buffer.from(text);
      const document = readContainerFile(name, bytes, { what, code: 'ERR_STORE_CORRUPT' });
      const missing = missingIn(name, bytes, document);
      return missing === undefined ? [] : [finding(`${what}: it lacks ${missing}, so dockerd would crash`)];
    } catch (error) {
      if (!LayerstackError.is(error)) throw error;
      return [finding(error.message)];
    }
  });
}

async function* checkBroken(root: Root, id: string): AsyncGenerator<Problem> {
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
      message: 'remains of a container that was being made or removed',
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
      'docker does not list it, and it cannot be mounted: save what you need from the directory, then delete it',
  };
}

async function* checkMounts(root: Root): AsyncGenerator<Problem> {
  const { layout } = root;
  for (const name of await listEntries(layout, layout.mounts)) {
    if (statEntry(layout.at(layout.container(name))) !== undefined) continue;
    if (statEntry(layout.at(layout.snapshot(name))) !== undefined) continue;
    const marked = await allMarkers(layout);
    if (
      marked.has(`container.${name}`) ||
      marked.has(`snapshot.${name}`) ||
      statEntry(layout.at(layout.mount(name))) === undefined
    )
      continue;
    const mountId = await readEntry(layout, layout.mount(name, 'mount-id'));
    if (mountId === name) {
      yield {
        code: 'mount-orphan',
        severity: 'warning',
        path: layout.mount(name),
        message: 'a snapshot that has lost its record',
        advice: `keep it while the \`lower\` of a container names its short name, in ${layout.overlay(name, 'link')}`,
      };
      continue;
    }
    const parent = await readEntry(layout, layout.mount(name, 'parent'));
    const keeps = parent !== undefined && isDigest(parent) ? `; it keeps layer ${parent}` : '';
    yield {
      code: 'mount-orphan',
      severity: 'warning',
      path: layout.mount(name),
      message: `a writable layer without a container${keeps}`,
      advice:
        mountId !== undefined && isEntryName(mountId)
          ? `save what you need from ${layout.overlay(mountId, 'diff')}, then delete this entry, and run fsck again to find its directories`
          : 'delete this entry',
    };
  }
}

async function* checkNameIndex(root: Root): AsyncGenerator<Problem> {
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
      message: `an entry for the name ${name}, which no container has any more`,
      advice: 'repair removes the entry, and so does the next creation of a container with this name',
      repair: async () => {
        root.session();
        await using _lock = await root.locks.acquire('containers', `name:${name}`);
        if (readContainer(layout, id)?.name !== name)
          await call(native.batch(layout.root, [{ op: 'unlink', path, missing: true }]));
      },
    };
  }
}
