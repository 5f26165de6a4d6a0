/**
 * The record of an archive's mount that outlives its process: `record.json` in its place (place.ts). It
 * counts the uses across processes, as mounts of containers are counted. It is written under the place's lock
 * and not synced, because a mount ends with its kernel.
 */
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import * as json from '../core/json.ts';
import { LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';
import { bootId } from '../system/processes.ts';
import { readText, statEntry } from '../system/store-files.ts';
import type { FileVersion } from './file-version.ts';

export interface ArchiveRecord {
  /** The canonical path of the archive. */
  readonly archive: string;
  /** The absolute path by which it was mounted; it may be a link. */
  readonly name: string;
  /** The caller's choice of `image` and `platform`; empty where the caller made none. */
  readonly image: string;
  readonly platform: string;
  readonly imageId: string;
  /** The names of the image in the archive. */
  readonly references: readonly string[];
  readonly verified: boolean;
  /** False for an archive without digests, which cannot be verified. */
  readonly hasDigests: boolean;
  readonly readOnly: boolean;
  readonly count: number;
  readonly files: readonly FileVersion[];
  readonly bootId: string;
  /** The mount namespace. Only processes in it can see whether the mount exists. */
  readonly namespace: string;
}

const NAME = 'record.json';
/** Each file of an OCI layout takes an entry. */
const MAX_BYTES = 16 * 1024 * 1024;

const decode = json.object({
  archive: json.string,
  name: json.string,
  image: json.string,
  platform: json.string,
  imageId: json.string,
  references: json.array(json.string),
  verified: json.boolean,
  hasDigests: json.boolean,
  readOnly: json.boolean,
  count: json.integer,
  files: json.array(
    json.object({
      path: json.string,
      dev: json.string,
      ino: json.string,
      size: json.string,
      mtime: json.string,
      ctime: json.string,
    }),
  ),
  bootId: json.string,
  namespace: json.string,
});

/** Returns whether a place has a record, readable or not. */
export function hasRecord(place: string): boolean {
  return statEntry(join(place, NAME)) !== undefined;
}

/** Reads the record of a place; undefined where it is missing or unreadable. */
export function readRecord(place: string): ArchiveRecord | undefined {
  const text = readText(join(place, NAME), MAX_BYTES);
  if (text === undefined) return undefined;
  try {
    return json.decodeJson(decode, Buffer.from(text), {
      what: NAME,
      code: 'ERR_STORE_CORRUPT',
      maxBytes: MAX_BYTES,
    });
  } catch (error) {
    if (LayerstackError.is(error)) return undefined;
    throw error;
  }
}

/** Replaces the record in one step. */
export async function writeRecord(
  place: string,
  record: Omit<ArchiveRecord, 'bootId' | 'namespace'>,
): Promise<void> {
  const data = JSON.stringify({ ...record, bootId: bootId(), namespace: mountNamespace() });
  await call(native.batch(place, [{ op: 'replace', path: NAME, data, mode: 0o600, sync: false }]));
}

/**
 * Returns whether the mount of a record may still exist. This process cannot see a mount of another mount
 * namespace, so that counts as existing.
 */
export function isLive(record: ArchiveRecord, isMounted: boolean): boolean {
  return record.bootId === bootId() && (isMounted || record.namespace !== mountNamespace());
}

function mountNamespace(): string {
  return readlinkSync('/proc/self/ns/mnt');
}
