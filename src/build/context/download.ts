/**
 * Downloads the file of an `ADD URL`, with the name, mode and time that docker gives it. Mirrors moby/moby:
 * builder/dockerfile/copy.go at v20.10 (downloadSource).
 */
import { createHash } from 'node:crypto';
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { LayerstackError } from '../../core/errors.ts';
import { writeBytes } from '../../system/write-bytes.ts';
import { WebFile } from '../../transfer/registry/web-file.ts';
import type { RegistrySettings } from '../../transfer/registry/settings.ts';

export interface RemoteFile {
  readonly url: string;
  /** `sha256:` and hex of the content that the file must have. */
  readonly checksum?: string | undefined;
}

export interface DownloadOptions {
  readonly settings: RegistrySettings;
  /** The environment with the proxies' variables. Default: the process's. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MAX_BYTES = 16 * 1024 ** 3;
const OTHERWISE = 'download it into the build context, and use COPY';

/**
 * Downloads a file into the new directory `directory`, and returns its name there. Not synced.
 * @throws {@link LayerstackError} what {@link WebFile.open} throws; ERR_INVALID_ARGUMENT for a URL without a
 *   file name; ERR_DIGEST_MISMATCH; ERR_LIMIT_EXCEEDED beyond 16 GiB.
 */
export async function download(
  { url, checksum }: RemoteFile,
  directory: string,
  { signal, ...access }: DownloadOptions,
): Promise<string> {
  const file = new WebFile(url, { ...access, otherwise: OTHERWISE });
  const name = posix.basename(decoded(new URL(url).pathname));
  if (name === '')
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `${file.shown} does not end in the name of a file`, {
      found: file.shown,
    });
  await mkdir(directory);
  await using opened = await file.open(signal);
  const target = await open(join(directory, name), 'wx', 0o600);
  try {
    const found = await receive(opened.bytes, target, { shown: file.shown, signal });
    if (checksum !== undefined && checksum !== found)
      throw new LayerstackError(
        'ERR_DIGEST_MISMATCH',
        `${file.shown} has the digest ${found}, and --checksum wants ${checksum}`,
        { expected: checksum, found },
      );
    const modified = (opened.modified ?? 0) / 1000;
    await target.utimes(modified, modified);
  } finally {
    await target.close();
  }
  return name;
}

/** Writes the bytes, and returns their digest. */
async function receive(
  bytes: AsyncIterable<Uint8Array>,
  target: FileHandle,
  { shown, signal }: { readonly shown: string; readonly signal: AbortSignal | undefined },
): Promise<string> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > MAX_BYTES)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `${shown} has more than ${String(MAX_BYTES)} bytes; ${OTHERWISE}`,
        { limit: MAX_BYTES },
      );
    hash.update(chunk);
    await writeBytes(target.fd, chunk, signal);
  }
  return `sha256:${hash.digest('hex')}`;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path).replaceAll('\0', '');
  } catch {
    return path;
  }
}
