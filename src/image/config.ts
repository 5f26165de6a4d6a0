/**
 * Reads image configs: the JSON documents whose digests are the image ids. The bytes are kept verbatim. The
 * fields are read as Go reads them (core/go-read.ts) and checked as dockerd checks them
 * (docs/store-layout.md). This file also checks bounds, and that DiffIDs are digests. Mirrors
 * `moby/moby: image/image.go` at v20.10 and `opencontainers/image-spec: config.md`.
 */
import { diffIdOf, digestOf, imageIdOf, isDigest, type DiffID, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { readGo } from '../core/go-read.ts';
import * as json from '../core/json.ts';
import { parseTime, ZERO_TIME, type Time } from '../core/time.ts';
import { decodeContainerConfig, EMPTY_CONTAINER_CONFIG, type ContainerConfig } from './container-config.ts';
import { IMAGE } from './docker-types.ts';

/** One step of an image's making. */
export interface HistoryEntry {
  readonly created?: Time;
  readonly author: string;
  readonly createdBy: string;
  readonly comment: string;
  /** The step made no layer. */
  readonly emptyLayer: boolean;
}

export interface ImageConfig {
  /** The original bytes. Their digest is the id. */
  readonly raw: Uint8Array;
  readonly id: ImageID;
  /** `linux` where the document names none. */
  readonly os: string;
  /** Empty where the document names none. */
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion: string;
  readonly created?: Time;
  readonly author: string;
  readonly comment: string;
  /** Container that the image was committed from. */
  readonly container: string;
  readonly dockerVersion: string;
  /** Bottom to top; may be empty. */
  readonly diffIds: readonly DiffID[];
  readonly rootfsType: string;
  readonly history: readonly HistoryEntry[];
  readonly config: ContainerConfig;
  /** The document has a config (docker shows `null` where it has none). */
  readonly hasConfig: boolean;
  /** Config of the container that the image was committed from. */
  readonly containerConfig: ContainerConfig;
}

/** Far above any real config (BuildKit's inline cache makes the largest, some 100 KB). */
export const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
const MAX_LAYERS = 10_000;

const text = json.withDefault(json.string, '');

/** Returns an RFC 3339 time, or undefined where the document has none. */
export const decodeTime: json.Decoder<Time | undefined> = json.optional((value, path) => {
  const parsed = parseTime(json.string(value, path));
  return parsed ?? json.mismatch(path, 'is not an RFC 3339 time');
});

const diffId: json.Decoder<DiffID> = (value, path) => {
  const digest = json.string(value, path);
  if (!isDigest(digest)) json.mismatch(path, 'is not a digest ("sha256:" and 64 lower-case hex digits)');
  return diffIdOf(digest);
};

const historyEntry: json.Decoder<HistoryEntry> = (value, path) => {
  const { created, created_by, empty_layer, ...rest } = json.object({
    created: decodeTime,
    author: text,
    created_by: text,
    comment: text,
    empty_layer: json.withDefault(json.boolean, false),
  })(value, path);
  return { ...rest, createdBy: created_by, emptyLayer: empty_layer, ...(created ? { created } : {}) };
};

const decodeConfig = json.object({
  os: text,
  architecture: text,
  variant: text,
  'os.version': text,
  created: decodeTime,
  author: text,
  comment: text,
  container: text,
  docker_version: text,
  rootfs: json.object({
    type: text,
    diff_ids: json.withDefault<readonly DiffID[]>(json.array(diffId, MAX_LAYERS), []),
  }),
  history: json.withDefault<readonly HistoryEntry[]>(json.array(historyEntry), []),
  config: json.optional(decodeContainerConfig),
  container_config: json.withDefault(decodeContainerConfig, EMPTY_CONTAINER_CONFIG),
});

/**
 * Returns whether the bytes are an image's config, valid or not, rather than another document: JSON with a
 * `rootfs`.
 */
export function isImageConfig(raw: Uint8Array): boolean {
  const source = { what: 'config', code: 'ERR_CONFIG_INVALID', maxBytes: MAX_CONFIG_BYTES } as const;
  try {
    return (
      json.decodeJson(json.object({ rootfs: json.optional(json.unknown) }), raw, source).rootfs !== undefined
    );
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    return false;
  }
}

/**
 * Reads and checks a config.
 * @throws {@link LayerstackError} ERR_CONFIG_INVALID when it is not JSON, has a field that dockerd cannot
 *   decode, lacks `rootfs`, is for another operating system, has more history steps with a layer than layers,
 *   or breaks a bound.
 */
export function parseImageConfig(raw: Uint8Array): ImageConfig {
  const id = imageIdOf(digestOf(raw));
  const what = `image config ${id}`;
  const source = { what, code: 'ERR_CONFIG_INVALID', maxBytes: MAX_CONFIG_BYTES, facts: { id } } as const;
  const doc = json.decode(decodeConfig, readGo(IMAGE, raw, source), source);
  const { diff_ids: diffIds, type: rootfsType } = doc.rootfs;
  const invalid = (why: string): LayerstackError =>
    new LayerstackError('ERR_CONFIG_INVALID', `${what}: ${why}`, { id });

  // The case counts: dockerd does not start on a store that has an image for "Linux".
  if (doc.os !== '' && doc.os !== 'linux') {
    throw invalid(
      `the image is for the operating system ${JSON.stringify(doc.os)}; only linux images can be stored`,
    );
  }
  const withLayer = doc.history.filter((entry) => !entry.emptyLayer).length;
  if (withLayer > diffIds.length) {
    throw invalid(
      `the history has ${withLayer} steps with a layer, but rootfs.diff_ids has ${diffIds.length} layers`,
    );
  }
  return {
    raw,
    id,
    os: doc.os === '' ? 'linux' : doc.os,
    architecture: doc.architecture,
    ...(doc.variant === '' ? {} : { variant: doc.variant }),
    osVersion: doc['os.version'],
    ...(doc.created ? { created: doc.created } : {}),
    author: doc.author,
    comment: doc.comment,
    container: doc.container,
    dockerVersion: doc.docker_version,
    diffIds,
    rootfsType,
    history: doc.history,
    config: doc.config ?? EMPTY_CONTAINER_CONFIG,
    hasConfig: doc.config !== undefined,
    containerConfig: doc.container_config,
  };
}

/** Returns a step as docker's API and generated configs show it. */
export function historyDocument(entry: HistoryEntry): Record<string, unknown> {
  return {
    created: entry.created?.text ?? ZERO_TIME,
    author: entry.author || undefined,
    created_by: entry.createdBy || undefined,
    comment: entry.comment || undefined,
    empty_layer: entry.emptyLayer || undefined,
  };
}
