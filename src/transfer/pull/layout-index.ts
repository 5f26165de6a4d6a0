/**
 * Opens an OCI layout's directory, and reads and writes `index.json`, which names its images.
 * Mirrors opencontainers/image-spec: image-layout.md.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ANNOTATION_REF_NAME } from '../../core/descriptor.ts';
import type { Digest } from '../../core/digest.ts';
import { isSystemError, LayerstackError, unlessMissing } from '../../core/errors.ts';
import { array, decodeJson, integer, map, object, optional, string, unknown } from '../../core/json.ts';
import { makeDirectories } from '../../system/make-directories.ts';
import { call, native } from '../../system/native.ts';
import { spaceError } from '../../system/space.ts';
import { TEMPORARY } from './layout-blobs.ts';

const MAX_INDEX_BYTES = 4 * 1024 * 1024;
const OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}';

/** The parts of a layout's `index.json` that decide which of its entries stay. */
const layoutIndex = object({
  schemaVersion: optional(integer),
  manifests: optional(array(unknown)),
});
const layoutEntry = object({
  digest: optional(string),
  annotations: optional(map(string)),
});

/**
 * Returns the canonical path of a layout's directory. Makes the directory if it is missing.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where it is neither empty nor an OCI layout.
 */
export async function openLayout(directory: string): Promise<string> {
  const fail = (why: string, cause?: unknown): never => {
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${directory} ${why}: name an OCI layout or a new directory`,
      { path: directory, cause },
    );
  };
  await makeDirectories(directory).catch((error: unknown) => {
    if (!isSystemError(error, 'EEXIST', 'ENOTDIR')) throw error;
    fail('is not a directory', error);
  });
  const path = await realpath(directory);
  const names = await readdir(path);
  const own = ['oci-layout', 'blobs', '.layerstack-partial'];
  const isOwn = (name: string): boolean => own.includes(name) || TEMPORARY.test(name);
  if (!names.every(isOwn) && !names.includes('oci-layout')) fail('is not empty and not an OCI layout');
  return path;
}

/** Returns the entries of `index.json`; none where the file does not exist. */
export async function readIndex(path: string): Promise<unknown[]> {
  const file = join(path, 'index.json');
  const stats = await unlessMissing(stat(file));
  if (!stats) return [];
  const source = {
    what: file,
    code: 'ERR_INVALID_ARGUMENT',
    maxBytes: MAX_INDEX_BYTES,
    facts: { path: file },
  } as const;
  if (stats.size > MAX_INDEX_BYTES)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${file}: it has ${String(stats.size)} bytes, too many for an index.json`,
      {
        path: file,
      },
    );
  const { manifests = [] } = decodeJson(layoutIndex, await readFile(file), source);
  return manifests;
}

/**
 * Writes `index.json` with the entry, which replaces any entry of the same tag (or, without a tag, the same
 * digest).
 */
export async function writeIndex(
  path: string,
  before: readonly unknown[],
  entry: { readonly digest: Digest; readonly annotations?: Readonly<Record<string, string>> },
): Promise<void> {
  const tag = entry.annotations?.[ANNOTATION_REF_NAME];
  const stays = before.filter((each) => {
    const { digest, annotations } = layoutEntry(each, '');
    const own = annotations?.get(ANNOTATION_REF_NAME);
    return own !== tag || (tag === undefined && digest !== entry.digest);
  });
  const index = { schemaVersion: 2, manifests: [...stays, entry] };
  const steps = [
    { op: 'replace', path: 'oci-layout', data: OCI_LAYOUT, mode: 0o644 },
    { op: 'replace', path: 'index.json', data: JSON.stringify(index), mode: 0o644 },
    { op: 'fsync', path: '.' },
  ] as const;
  await call(native.batch(path, steps)).catch((error: unknown) => {
    throw spaceError(error, path);
  });
}
