/**
 * Plans a container that begins where a snapshot ends: above the snapshot's sealed uppers, with the documents
 * of the container that was sealed, but an identity of its own. It has never run, so what dockerd notes about
 * runs begins anew.
 */
import { LayerstackError } from '../core/errors.ts';
import { goJson } from '../core/go-json.ts';
import { ZERO_TIME } from '../core/time.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { newRwLayer, type Base, type NewRwLayer } from '../rwlayer/rwlayer.ts';
import type { Layout } from '../system/layout.ts';
import { readText } from '../system/store-files.ts';
import { readContainerFile, type ContainerFile } from './decodable.ts';
import { endpoint, hostnameOf, type Endpoints, type Identity } from './documents.ts';
import { MAX_DOCUMENT_BYTES } from './record.ts';

/** The content of `config.v2.json` and of `hostconfig.json`. */
export type ContainerDocuments = Readonly<Record<ContainerFile, string>>;

/** The source of a fork. */
export interface ForkSource {
  /** The id of the container that has, or had, the documents. */
  readonly containerId: string;
  readonly documents: ContainerDocuments;
  readonly base: Base;
  /** @see NewRwLayer.sealed */
  readonly sealed: readonly string[];
}

export interface ForkOptions {
  /** Default: a generated name in Docker's form. */
  readonly name?: string | undefined;
  /** Labels in addition to those of the source. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** @see CreateOptions.durable */
  readonly durable?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A container that is about to be made. */
export interface MakePlan {
  readonly id: string;
  readonly name: string;
  /** A directory that is made where the image lacks it; empty for none. */
  readonly workingDirectory: string;
  readonly documents: ContainerDocuments;
  readonly layer: NewRwLayer;
}

/**
 * Reads the documents of a container.
 * @throws {@link LayerstackError} ERR_CONTAINER_NOT_FOUND when one is missing.
 */
export function readDocuments(layout: Layout, id: string): ContainerDocuments {
  const read = (file: ContainerFile): string => {
    const text = readText(layout.at(layout.container(id, file)), MAX_DOCUMENT_BYTES);
    if (text !== undefined) return text;
    const path = layout.container(id, file);
    throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `container ${id.slice(0, 12)} has no ${file}`, {
      ...{ id, path },
    });
  };
  return { 'config.v2.json': read('config.v2.json'), 'hostconfig.json': read('hostconfig.json') };
}

/**
 * Draws the names of a fork and makes its documents. Makes nothing on disk.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when dockerd could not decode the documents.
 */
export function forkPlan(
  { containerId, documents, base, sealed }: ForkSource,
  name: string,
  labels: Readonly<Record<string, string>>,
): MakePlan {
  const id = newOverlayId();
  const identity = { id, name, created: new Date().toISOString() };
  const source = {
    what: `the config of container ${containerId.slice(0, 12)}`,
    code: 'ERR_STORE_CORRUPT',
  } as const;
  const config = readContainerFile('config.v2.json', Buffer.from(documents['config.v2.json']), source);
  return {
    ...{ id, name },
    workingDirectory: '', // the source has it, or has removed it
    documents: {
      'config.v2.json': forkedConfig(config as Fields, { identity, containerId, labels }),
      'hostconfig.json': documents['hostconfig.json'],
    },
    layer: newRwLayer({ key: id, owner: `container ${name}` }, base, sealed),
  };
}

type Fields = Readonly<Record<string, unknown>>;

interface Forked {
  readonly identity: Identity;
  readonly containerId: string;
  readonly labels: Readonly<Record<string, string>>;
}

function forkedConfig(source: Fields, { identity, containerId, labels }: Forked): string {
  const config = fieldsOf(source['Config']);
  // A host name that follows from the id follows from the new id.
  const isOwnName = config['Hostname'] === hostnameOf({ id: containerId });
  return goJson({
    StreamConfig: {},
    State: { Running: false, Pid: 0, ExitCode: 0, Error: '', StartedAt: ZERO_TIME, FinishedAt: ZERO_TIME },
    ID: identity.id,
    Created: identity.created,
    Managed: false,
    Path: source['Path'] ?? '',
    Args: source['Args'] ?? [],
    Config: {
      ...config,
      ...(isOwnName && { Hostname: hostnameOf(identity) }),
      Labels: { ...fieldsOf(config['Labels']), ...labels },
    },
    Image: source['Image'] ?? '',
    NetworkSettings: { Networks: networksOf(fieldsOf(fieldsOf(source['NetworkSettings'])['Networks'])) },
    LogPath: '',
    Name: `/${identity.name}`,
    Driver: 'overlay2',
    OS: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    RestartCount: 0,
    HasBeenStartedBefore: false,
    HasBeenManuallyStopped: false,
    MountPoints: source['MountPoints'] ?? {},
  });
}

/** Returns the networks that the fork will join, without the addresses that the source had in them. */
function networksOf(networks: Fields): Endpoints {
  return Object.fromEntries(
    Object.entries(networks).map(([name, settings]) => [name, endpoint(fieldsOf(settings))]),
  );
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}
