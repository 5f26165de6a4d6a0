/**
 * Converts legacy images (docker < 1.10). Each of their layers is an image with a random id, a parent id and
 * a config of its own in `<id>/json`. The result is the image config that dockerd makes, byte for byte, so
 * the image id is the same. Members are carried over as they are written (numbers, order and unknown members
 * included). Configs of docker < 1.8.3 first get the order and the empty values of docker's struct. Mirrors
 * `moby/moby: image/v1/imagev1.go` and `image/tarexport/load.go` at v20.10.
 */
import type { DiffID } from '../core/digest.ts';
import { goJson, goString, sortedKeys } from '../core/go-json.ts';
import { readGo } from '../core/go-read.ts';
import * as json from '../core/json.ts';
import { ZERO_TIME } from '../core/time.ts';
import {
  decodeTime,
  historyDocument,
  MAX_CONFIG_BYTES,
  parseImageConfig,
  type HistoryEntry,
  type ImageConfig,
} from './config.ts';
import {
  decodeContainerConfig,
  dockerContainerConfig,
  EMPTY_CONTAINER_CONFIG,
  type Whole,
} from './container-config.ts';
import { V1_IMAGE } from './docker-types.ts';

/** The first docker version whose configs are carried over unchanged. */
const VERBATIM_SINCE = [1, 8, 3];
/** Members that configs of today do not have. */
const DROPPED = ['id', 'parent', 'Size', 'parent_id', 'layer_id', 'throwaway'];

const text = json.withDefault(json.string, '');

const decodeV1 = json.object({
  id: text,
  parent: text,
  comment: text,
  created: decodeTime,
  container: text,
  container_config: json.withDefault(decodeContainerConfig, EMPTY_CONTAINER_CONFIG),
  docker_version: text,
  author: text,
  config: json.optional(decodeContainerConfig),
  architecture: text,
  variant: text,
  os: text,
  Size: json.withDefault<Whole>(json.whole, 0),
});

/** A legacy image's `json`. */
export interface V1Image {
  /** The legacy id of the image below, or undefined for a base. */
  readonly parent?: string;
  readonly raw: Uint8Array;
  readonly document: json.Decoded<typeof decodeV1>;
}

/**
 * Reads `<id>/json`; `what` names it in errors.
 * @throws {@link LayerstackError} ERR_CONFIG_INVALID when it is not JSON or a member is of a wrong type.
 */
export function parseV1Image(raw: Uint8Array, what: string): V1Image {
  const source = { what, code: 'ERR_CONFIG_INVALID', maxBytes: MAX_CONFIG_BYTES } as const;
  const document = json.decode(decodeV1, readGo(V1_IMAGE, raw, source), source);
  return { raw, document, ...(document.parent === '' ? {} : { parent: document.parent }) };
}

/**
 * Returns the image that consists of `parent` and the layer of `image`.
 * @throws {@link LayerstackError} ERR_CONFIG_INVALID as {@link parseImageConfig}.
 */
export function configFromV1(image: V1Image, diffId: DiffID, parent: ImageConfig | undefined): ImageConfig {
  const { document } = image;
  const step: HistoryEntry = {
    author: document.author,
    createdBy: (document.container_config.Cmd ?? []).join(' '),
    comment: document.comment,
    emptyLayer: false,
    ...(document.created ? { created: document.created } : {}),
  };
  const rootfs = { type: parent?.rootfsType ?? 'layers', diff_ids: [...(parent?.diffIds ?? []), diffId] };
  const history = [...(parent?.history ?? []), step].map(historyDocument);

  const members = membersOf(isVerbatim(document.docker_version) ? image.raw : Buffer.from(normalized(image)));
  for (const name of DROPPED) members.delete(name);
  members.set('rootfs', latin1(goJson(rootfs)));
  members.set('history', latin1(goJson(history)));
  const written = [...sortedKeys(members)].map(([name, value]) => `${latin1(goString(name))}:${value}`);
  return parseImageConfig(Buffer.from(`{${written.join(',')}}`, 'latin1'));
}

/** Compares number by number. A missing part, and a part that is not a number, counts as 0. */
function isVerbatim(version: string): boolean {
  const parts = version.split('.').map((part) => (/^[+-]?\d+$/.test(part) ? Number(part) : 0));
  for (let i = 0; i < Math.max(parts.length, VERBATIM_SINCE.length); i++) {
    const difference = (parts[i] ?? 0) - (VERBATIM_SINCE[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** Returns the document as docker's struct would write it. */
function normalized({ document }: V1Image): string {
  return goJson({
    id: document.id || undefined,
    parent: document.parent || undefined,
    comment: document.comment || undefined,
    created: document.created?.text ?? ZERO_TIME,
    container: document.container || undefined,
    container_config: dockerContainerConfig(document.container_config),
    docker_version: document.docker_version || undefined,
    author: document.author || undefined,
    config: document.config && dockerContainerConfig(document.config),
    architecture: document.architecture || undefined,
    variant: document.variant || undefined,
    os: document.os || undefined,
    Size: document.Size || undefined,
  });
}

/** One token of JSON: a string, a bracket or sign, or a number or word. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/**
 * Returns the members of a valid JSON object. Values stay as they are written, but without white space, and
 * escaped as Go does when it passes JSON on. Text is read as latin1, one character for each byte, so that
 * every byte is preserved.
 */
function membersOf(bytes: Uint8Array): Map<string, string> {
  const members = new Map<string, string>();
  let depth = 0;
  let name: string | undefined;
  let value = '';
  const finish = (): void => {
    if (name !== undefined) members.set(name, escapeRaw(value));
    name = undefined;
    value = '';
  };
  for (const [token] of Buffer.from(bytes).toString('latin1').matchAll(TOKEN)) {
    if (token === '}' || token === ']') depth--;
    if (depth === 0) {
      if (token === '}') finish();
    } else if (depth === 1 && token === ',') finish();
    else if (name === undefined) name = JSON.parse(Buffer.from(token, 'latin1').toString()) as string;
    else if (value !== '' || token !== ':') value += token;
    if (token === '{' || token === '[') depth++;
  }
  return members;
}

function escapeRaw(value: string): string {
  return value
    .replace(/[<>&]/g, (char) => `\\u00${char.charCodeAt(0).toString(16)}`)
    .replace(/\xe2\x80([\xa8\xa9])/g, (_, last: string) => `\\u202${last === '\xa8' ? '8' : '9'}`);
}

function latin1(utf8: string): string {
  return Buffer.from(utf8).toString('latin1');
}
