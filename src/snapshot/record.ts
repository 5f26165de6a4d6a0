/**
 * The record of a snapshot, `layerstack/snapshots/<id>.json`: its facts, and both documents of the container
 * that was sealed, from which forks are made even when that container is removed. It is written once, under a
 * temporary name, and renamed when the snapshot is made.
 */
import { chainIdOf, imageIdOf, isDigest, isHex64, type Digest } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import * as json from '../core/json.ts';
import type { ContainerDocuments } from '../container/fork.ts';
import { MAX_DOCUMENT_BYTES } from '../container/record.ts';
import type { Layout } from '../system/layout.ts';
import { listEntries } from '../system/removal.ts';
import { readStoreFile } from '../system/store-files.ts';
import type { Snapshot, SnapshotConsistency, SnapshotMethod } from './snapshot.ts';

/** The content of a record. */
export interface SnapshotRecord {
  readonly snapshot: Snapshot;
  readonly documents: ContainerDocuments;
  /** Set for a merged upper, which is not listed: the topmost snapshot that it merges (flatten.ts). */
  readonly flattens?: string | undefined;
}

const VERSION = 1;
/** Both documents as strings of JSON, in which escapes may double them. */
const MAX_BYTES = 4 * MAX_DOCUMENT_BYTES + 1024 * 1024;

const digest: json.Decoder<Digest> = (value, path) => {
  const text = json.string(value, path);
  return isDigest(text) ? text : json.mismatch(path, 'is not a digest');
};
const id: json.Decoder<string> = (value, path) => {
  const text = json.string(value, path);
  return isHex64(text) ? text : json.mismatch(path, 'is not an id');
};

const METHODS: readonly SnapshotMethod[] = ['sealed', 'copied'];
const CONSISTENCIES: readonly SnapshotConsistency[] = ['quiescent', 'frozen', 'crash'];

/** Returns a decoder of one of these words. */
function oneOf<T extends string>(words: readonly T[]): json.Decoder<T> {
  return (value, path) => {
    const text = json.string(value, path);
    return words.find((word) => word === text) ?? json.mismatch(path, `is not one of ${words.join(', ')}`);
  };
}

const decoder = json.object({
  version: json.integer,
  id,
  name: json.optional(json.string),
  labels: json.map(json.string),
  created: json.string,
  expires: json.optional(json.string),
  parent: json.optional(id),
  depth: json.integer,
  containerId: id,
  containerName: json.string,
  imageId: json.optional(digest),
  imageName: json.string,
  layer: json.optional(digest),
  method: json.withDefault(oneOf(METHODS), 'sealed'),
  consistency: json.withDefault(oneOf(CONSISTENCIES), 'quiescent'),
  bytes: json.withDefault(json.integer, 0),
  generation: json.withDefault(json.integer, 0),
  flattens: json.optional(id),
  config: json.string,
  hostConfig: json.string,
});

/** Returns the content of the record's file. */
export function recordText({ snapshot, documents, flattens }: SnapshotRecord): string {
  return JSON.stringify({
    version: VERSION,
    ...snapshot,
    flattens,
    config: documents['config.v2.json'],
    hostConfig: documents['hostconfig.json'],
  });
}

/**
 * Reads the record of a snapshot; undefined when it does not exist.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a file that is not the record of this snapshot.
 */
export async function readRecord(layout: Layout, id: string): Promise<SnapshotRecord | undefined> {
  return readFile(layout, layout.snapshot(id), id);
}

/** Reads the record of a snapshot that is being made, as {@link readRecord} does. */
export async function readStagedRecord(layout: Layout, id: string): Promise<SnapshotRecord | undefined> {
  return readFile(layout, layout.stagedSnapshot(id), id);
}

/** Returns the ids that have a record. */
export async function recordIds(layout: Layout): Promise<string[]> {
  return (await listEntries(layout, layout.snapshots)).flatMap((name) => {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : '';
    return isHex64(id) ? [id] : [];
  });
}

async function readFile(layout: Layout, path: string, id: string): Promise<SnapshotRecord | undefined> {
  const what = `the record of snapshot ${id.slice(0, 12)}`;
  const bytes = await readStoreFile(layout.at(path), MAX_BYTES).catch((error: unknown) => {
    if (!isSystemError(error, 'EISDIR')) throw error;
    throw new LayerstackError('ERR_STORE_CORRUPT', `${what}, ${layout.at(path)}, is a directory`, {
      ...{ id, path: layout.at(path), cause: error },
    });
  });
  if (bytes === undefined) return undefined;
  const found = json.decodeJson(decoder, bytes, { what, code: 'ERR_STORE_CORRUPT', maxBytes: MAX_BYTES });
  if (found.version !== VERSION || found.id !== id)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${what}, ${layout.at(path)}, is of another version or another snapshot`,
      { id, path: layout.at(path) },
    );
  const { version: _version, config, hostConfig, imageId, layer, labels, flattens, ...facts } = found;
  return {
    snapshot: {
      ...facts,
      labels: Object.fromEntries(labels),
      imageId: imageId === undefined ? undefined : imageIdOf(imageId),
      layer: layer === undefined ? undefined : chainIdOf(layer),
    },
    documents: { 'config.v2.json': config, 'hostconfig.json': hostConfig },
    ...(flattens !== undefined && { flattens }),
  };
}
