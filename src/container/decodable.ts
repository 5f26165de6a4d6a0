/**
 * Checks whether dockerd can decode the documents in `containers/<id>`. If one field has a wrong type,
 * dockerd does not list the container. Both documents are read as Go reads them, before they are written and
 * by fsck.
 */
import { goJson } from '../core/go-json.ts';
import { readGo, type GoType } from '../core/go-read.ts';
import { firstValue, type JsonSource } from '../core/json.ts';
import { CONTAINER, HOST_CONFIG } from './docker-types.ts';
import type { HostConfig } from './documents.ts';

/** Far above any real document. */
const MAX_BYTES = 8 * 1024 * 1024;

/** The type of each document, by the name of its file. */
const TYPES = { 'config.v2.json': CONTAINER, 'hostconfig.json': HOST_CONFIG } as const satisfies Record<
  string,
  GoType
>;

export type ContainerFile = keyof typeof TYPES;

export const CONTAINER_FILES = Object.keys(TYPES) as readonly ContainerFile[];

/**
 * Returns a host config as dockerd would decode it: fields have docker's names, and unknown fields are
 * dropped.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the field that dockerd cannot decode.
 */
export function readHostConfig(given: HostConfig): HostConfig {
  const source = { what: 'the host config', code: 'ERR_INVALID_ARGUMENT', maxBytes: MAX_BYTES } as const;
  return readGo(HOST_CONFIG, Buffer.from(goJson(given)), source) as HostConfig;
}

/**
 * Reads a document that is in `containers/<id>`, or will be. Like dockerd, it reads only the first JSON
 * value.
 * @throws {@link LayerstackError} `source.code` naming the field that dockerd cannot decode.
 */
export function readContainerFile(
  name: ContainerFile,
  bytes: Uint8Array,
  source: Omit<JsonSource, 'maxBytes'>,
): unknown {
  return readGo(TYPES[name], firstValue(bytes), { ...source, maxBytes: MAX_BYTES });
}

/**
 * Returns the name of a missing field, or of a missing document, without which dockerd crashes when it
 * starts. dockerd can decode such a document.
 */
export function missingIn(name: ContainerFile, bytes: Uint8Array, document: unknown): string | undefined {
  if (name === 'hostconfig.json') return /^\s*null\b/.test(Buffer.from(bytes).toString()) ? name : undefined;
  const { Config, State, MountPoints } = document as Record<
    string,
    Record<string, unknown> | null | undefined
  >;
  if ((Config ?? null) === null) return 'Config';
  // dockerd makes a State if the field is absent, but not if it is null.
  if (State === null) return 'State';
  const point = Object.entries(MountPoints ?? {}).find(([, value]) => value === null);
  return point && `MountPoints[${JSON.stringify(point[0])}]`;
}
