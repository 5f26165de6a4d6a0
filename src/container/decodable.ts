/**
 * Whether dockerd can decode what is in `containers/<id>`: one field of a wrong kind, and it does not know the container any
 * more. Both documents are read as Go reads them, before they are written and by fsck.
 */
import { goJson } from '../core/go-json.ts';
import { readGo, type GoType } from '../core/go-read.ts';
import { firstValue, type JsonSource } from '../core/json.ts';
import { CONTAINER, HOST_CONFIG } from './docker-types.ts';
import type { HostConfig } from './documents.ts';

/** Far above any real document. */
const MAX_BYTES = 8 * 1024 * 1024;

/** The documents by the names of their files. */
const TYPES = { 'config.v2.json': CONTAINER, 'hostconfig.json': HOST_CONFIG } as const satisfies Record<
  string,
  GoType
>;

export type ContainerFile = keyof typeof TYPES;

export const CONTAINER_FILES = Object.keys(TYPES) as readonly ContainerFile[];

/**
 * A host config as dockerd would decode it: fields by docker's names, without those that it does not know.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the field that dockerd cannot decode.
 */
export function readHostConfig(given: HostConfig): HostConfig {
  const source = { what: 'the host config', code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_BYTES } as const;
  return readGo(HOST_CONFIG, Buffer.from(goJson(given)), source) as HostConfig;
}

/**
 * Reads a document that is, or shall be, in `containers/<id>`. Like dockerd, only its first value.
 * @throws {@link LayerstackError} `source.code` naming the field that dockerd cannot decode.
 */
export function readContainerFile(
  name: ContainerFile,
  bytes: Uint8Array,
  source: Omit<JsonSource, 'maxBytes'>,
): unknown {
  return readGo(TYPES[name], firstValue(bytes), { ...source, maxBytes: MAX_BYTES });
}

/** What dockerd crashes on when it starts, though it can decode it: where the document, whose bytes these are, has nothing. */
export function missingIn(name: ContainerFile, bytes: Uint8Array, document: unknown): string | undefined {
  if (name === 'hostconfig.json') return /^\s*null\b/.test(Buffer.from(bytes).toString()) ? name : undefined;
  const { Config, State, MountPoints } = document as Record<
    string,
    Record<string, unknown> | null | undefined
  >;
  if ((Config ?? null) === null) return 'Config';
  // Of a State that is not mentioned dockerd makes one.
  if (State === null) return 'State';
  const point = Object.entries(MountPoints ?? {}).find(([, value]) => value === null);
  return point && `MountPoints[${JSON.stringify(point[0])}]`;
}
