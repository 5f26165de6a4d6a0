/**
 * Fetches an image's config from its registry. A config is small, so it is held in memory. Its digest is
 * verified.
 */
import { isConfigType, type Descriptor } from '../../core/descriptor.ts';
import { digestOf } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { isImageConfig, MAX_CONFIG_BYTES } from '../../image/config.ts';
import { Download } from './download.ts';
import type { PullSource } from './source.ts';

/**
 * Returns the bytes that the descriptor names.
 * @param sourceName the reference, for messages
 * @throws {@link LayerstackError} ERR_LIMIT_EXCEEDED before anything is fetched; ERR_DIGEST_MISMATCH;
 *   ERR_MANIFEST_INVALID where the media type says nothing and the config is not an image's; the errors of a
 *   {@link Download}.
 */
export async function fetchConfig(
  source: PullSource,
  sourceName: string,
  blob: Descriptor,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const { digest, size } = blob;
  if (size > MAX_CONFIG_BYTES)
    throw new LayerstackError(
      'ERR_LIMIT_EXCEEDED',
      `${sourceName}: its config ${digest} has ${String(size)} bytes; a config may have ${String(MAX_CONFIG_BYTES)}`,
      { reference: sourceName, digest, limit: MAX_CONFIG_BYTES, found: size },
    );
  for (;;) {
    const transfer = new Download(source, blob, { signal });
    const chunks: Uint8Array[] = [];
    for await (const chunk of transfer.bytes()) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const found = digestOf(bytes);
    if (found === digest) {
      if (isConfigType(blob.mediaType) === 'yes' || isImageConfig(bytes)) return bytes;
      throw new LayerstackError(
        'ERR_MANIFEST_INVALID',
        `${sourceName}: it is not an image but an artifact: its config ${digest}, of type ${blob.mediaType}, has no rootfs`,
        { reference: sourceName, digest },
      );
    }
    if (transfer.distrust()) continue;
    throw new LayerstackError(
      'ERR_DIGEST_MISMATCH',
      `${sourceName}: the config that the registry sends has the digest ${found}, not ${digest}; its copy is damaged: push the ` +
        `image again`,
      { reference: sourceName, digest, expected: digest, found },
    );
  }
}
