/**
 * Reads a container from disk: `containers/<id>/config.v2.json` (layerstack's or dockerd's), and the entry of
 * its RW layer, `layerdb/mounts/<id>`. A container without one of them is broken, or is being made or
 * removed. dockerd does not list it, so it does not exist here either. Fields are read leniently, since
 * dockerd's vary by version.
 */
import { imageIdOf, isDigest, type ChainID, type ImageID } from '../core/digest.ts';
import { readEntry } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import type { Layout } from '../system/layout.ts';
import { ZERO_TIME } from '../core/time.ts';
import { decodeContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import { readText } from '../system/store-files.ts';

/**
 * The last known state of the container's process. layerstack runs no process, so its own containers are
 * `created`.
 */
export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'exited' | 'dead';

export interface Container {
  /** 64 hex digits. */
  readonly id: string;
  /** Without the `/` of Docker's API. */
  readonly name: string;
  /** Undefined if dockerd made the container without an image. */
  readonly imageId: ImageID | undefined;
  /** The name by which the image was given at the container's creation. */
  readonly imageName: string;
  /** RFC3339. */
  readonly created: string;
  /** Path and arguments of its process; empty when neither image nor caller names any. */
  readonly command: readonly string[];
  readonly config: ContainerConfig;
  readonly state: ContainerState;
  /** Exit status of the last run by dockerd. */
  readonly exitCode: number;
  /** RFC3339; undefined if its process has never ended. */
  readonly finished: string | undefined;
  /** The directory of its RW layer in `overlay2`. */
  readonly mountId: string;
  /** The directory of its init layer; undefined without one. */
  readonly initId: string | undefined;
  /** Top layer of its image; undefined for an image without layers. */
  readonly parent: ChainID | undefined;
}

/** The limit for config.v2.json and hostconfig.json: twice that of an image's config. */
export const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;

/** Returns the container `id`; undefined if dockerd would not list it. */
export function readContainer(layout: Layout, id: string): Container | undefined {
  const text = readText(layout.at(layout.container(id, 'config.v2.json')), MAX_DOCUMENT_BYTES);
  if (text === undefined) return undefined;
  const described = decodeContainer(id, text);
  const entry = described && readEntry(layout, id);
  return entry && { ...described, ...entry };
}

/** Returns the RW layer of a container. */
export function rwLayerOf({ id, name, mountId, initId, parent }: Container): RwLayer {
  return { key: id, owner: `container ${name}`, mountId, initId, parent };
}

type Fields = Readonly<Record<string, unknown>>;

/** The facts about a container in `config.v2.json`. */
export type Described = Omit<Container, 'mountId' | 'initId' | 'parent'>;

/**
 * Decodes a document; undefined when it is broken or belongs to another container. dockerd skips those too.
 */
export function decodeContainer(id: string, json: string): Described | undefined {
  try {
    const document = fields(JSON.parse(json));
    return document['ID'] === id ? describe(id, document) : undefined;
  } catch {
    return undefined;
  }
}

function describe(id: string, document: Fields): Described {
  const config = decodeContainerConfig(fields(document['Config']), 'Config');
  const state = fields(document['State']);
  const image = text(document['Image']);
  const finished = text(state['FinishedAt']);
  const path = text(document['Path']);
  return {
    id,
    name: text(document['Name']).replace(/^\//, ''),
    imageId: isDigest(image) ? imageIdOf(image) : undefined,
    imageName: config.Image,
    created: text(document['Created']),
    command: path === '' ? [] : [path, ...texts(document['Args'])],
    config,
    state: stateOf(state),
    exitCode: typeof state['ExitCode'] === 'number' ? state['ExitCode'] : 0,
    finished: finished === '' || finished === ZERO_TIME ? undefined : finished,
  };
}

/** Derives the state as `docker ps` does (moby/moby: container/state.go). */
function stateOf(state: Fields): ContainerState {
  if (state['Running'] === true) {
    if (state['Paused'] === true) return 'paused';
    return state['Restarting'] === true ? 'restarting' : 'running';
  }
  if (state['Dead'] === true) return 'dead';
  const started = text(state['StartedAt']);
  return started === '' || started === ZERO_TIME ? 'created' : 'exited';
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
