/** Errors for an archive of an unknown format. */
import { LayerstackError } from '../../core/errors.ts';
import type { Archive } from './archive.ts';
import { cutOff } from './archive.ts';
import type { Members } from './members.ts';
import { describeStart } from './sniff.ts';

/** Each format has one of these at its top. */
export const FORMAT_MEMBERS: readonly string[] = [
  'manifest.json',
  'index.json',
  'oci-layout',
  'repositories',
];

const EXPECTED =
  "an image archive has manifest.json (docker save), index.json (OCI) or repositories (docker's first format) at its top";

const ROOT_FS_NAMES = new Set(
  'bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var'.split(' '),
);

/** Returns whether some top names belong to a root file system, and none to an image archive. */
export function looksLikeRootFs(members: Members<unknown>): boolean {
  const top = new Set<string>();
  for (const name of members.names()) top.add(name.split('/', 1)[0] ?? '');
  if (FORMAT_MEMBERS.some((name) => top.has(name))) return false;
  return [...top].filter((name) => ROOT_FS_NAMES.has(name)).length >= 2;
}

export function rootFsError(sourceName: string): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_INVALID',
    `${sourceName}: looks like the tar of a root file system, not of an image; use import for it (${EXPECTED})`,
    { path: sourceName },
  );
}

/** Returns the error for a tar (or folder) without a manifest of any format. */
export function unknownFormat(archive: Archive): LayerstackError {
  const { sourceName, members } = archive;
  if (looksLikeRootFs(members)) return rootFsError(sourceName);
  if (!archive.ended) return cutOff(archive);
  const names = [...members.names()];
  const shown = names.slice(0, 3).map((name) => `'${name}'`);
  const has = shown.length === 0 ? 'no files' : `${shown.join(', ')}${names.length > 3 ? ', …' : ''}`;
  return new LayerstackError(
    'ERR_ARCHIVE_INVALID',
    `${sourceName}: is not an image archive: it has ${has}; ${EXPECTED}`,
    {
      path: sourceName,
    },
  );
}

/** Returns the error for bytes that are not a tar. */
export function notATar(sourceName: string, head: Uint8Array): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_INVALID',
    `${sourceName}: is not an image archive: it is ${describeStart(head)}; give what docker save wrote, an OCI archive ` +
      `or an OCI layout folder, plain or compressed by gzip or zstd`,
    { path: sourceName },
  );
}
