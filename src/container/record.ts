/**
 * A container as it is on disk: `containers/<id>/config.v2.json` (ours or dockerd's) and the entry of its RW
 * layer, `layerdb/mounts/<id>`. One that lacks either is being made or removed, or broken, and dockerd does
 * not list it either; so it does not exist here. Fields are read leniently: dockerd's vary by version.
 */
import { imageIdOf, isDigest, type ChainID, type ImageID } from '../core/digest.ts';
import { readEntry } from '../rwlayer/entry.ts';
import type { RwLayer } from '../rwlayer/rwlayer.ts';
import type { Layout } from '../system/layout.ts';
import { ZERO_TIME } from '../core/time.ts';
import { decodeContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import { readText } from '../system/store-files.ts';

/** What the container's process last did; layerstack runs none itself, so its own are `created`. */
export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'exited' | 'dead';

export interface Container {
  /** 64 hex digits. */
  readonly id: string;
  /** Without the `/` of Docker's API. */
  readonly name: string;
  /** Undefined where dockerd made the container without an image. */
  readonly imageId: ImageID | undefined;
  /** The image as it was named when the container was created. */
  readonly imageName: string;
  /** RFC3339. */
  readonly created: string;
  /** Path and arguments of its process; empty when neither image nor caller named any. */
  readonly command: readonly string[];
  readonly config: ContainerConfig;
  readonly state: ContainerState;
  /** Exit status of the last run by dockerd. */
  readonly exitCode: number;
  /** RFC3339; undefined when it never ran to an end. */
  readonly finished: string | undefined;
  /** The directory of its RW layer in `overlay2`. */
  readonly mountId: string;
  /** The directory of its init layer; undefined where it has none. */
  readonly initId: string | undefined;
  /** Top layer of its image; undefined for an image without layers. */
  readonly parent: ChainID | undefined;
}

/** Of config.v2.json and hostconfig.json: an image's config, twice. */
export const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;

/** The container `id`, or undefined where there is none that dockerd would list. */
export function readContainer(layout: Layout, id: string): Container | undefined {
  const text = readText(layout.at(layout.container(id, 'config.v2.json')), MAX_DOCUMENT_BYTES);
  if (text === undefined) return undefined;
  const described = decode(id, text);
  const entry = described && readEntry(layout, id);
  return entry && { ...described, ...entry };
}

/** The RW layer of a container. */
export function rwLayerOf({ id, name, mountId, initId, parent }: Container): RwLayer {
  return { key: id, owner: `container ${name}`, mountId, initId, parent };
}

type Fields = Readonly<Record<string, unknown>>;

type Described = Omit<Container, 'mountId' | 'initId' | 'parent'>;

/** Undefined where the document is broken, or another container's: dockerd skips those too. */
function decode(id: string, json: string): Described | undefined {
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

/** As `docker ps` derives its status (moby/moby: container/state.go). */
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
