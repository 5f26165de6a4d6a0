/**
 * Platforms of images in a registry, as their index or config gives them, for display: nothing is normalised.
 */
import { parseManifest } from '../../core/descriptor.ts';
import { digestOf } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import type { FetchedManifest, RepositoryClient, RequestOptions } from '../registry/client.ts';

/** A platform in the OCI spec's names. */
export interface ShownPlatform {
  readonly architecture: string;
  readonly os: string;
  readonly 'os.version'?: string | undefined;
  readonly 'os.features'?: readonly string[] | undefined;
  readonly variant?: string | undefined;
}

const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
const MAX_BYTES = 4 * 1024 * 1024;

const platform: json.Decoder<ShownPlatform> = json.object({
  architecture: json.withDefault(json.string, ''),
  os: json.withDefault(json.string, ''),
  'os.version': json.optional(json.string),
  'os.features': json.optional(json.array(json.string)),
  variant: json.optional(json.string),
});

const index = json.object({
  manifests: json.withDefault(json.array(json.object({ platform: json.optional(platform) })), []),
});

/** Returns the platforms of an index's manifests, in its order. */
export function indexPlatforms(bytes: Uint8Array, what: string): (ShownPlatform | undefined)[] {
  const source = { what, code: 'ERR_MANIFEST_INVALID', maxBytes: MAX_BYTES } as const;
  return json.decodeJson(index, bytes, source).manifests.map((each) => each.platform);
}

/**
 * Returns the platform of an image; undefined where its config has none, as for artifacts.
 * @throws {@link LayerstackError} ERR_DIGEST_MISMATCH, ERR_CONFIG_INVALID.
 */
export async function configPlatform(
  client: RepositoryClient,
  manifest: FetchedManifest,
  options: RequestOptions,
): Promise<ShownPlatform | undefined> {
  const document = parseManifest(manifest.bytes, `manifest ${client.repository}@${manifest.digest}`);
  if (document.kind !== 'manifest' || document.config.size > MAX_CONFIG_BYTES) return undefined;
  const { digest, size } = document.config;
  const what = `config ${digest} of ${client.repository}`;
  const { body } = await client.openBlob(document.config, options);
  const chunks: Uint8Array[] = [];
  let read = 0;
  for await (const chunk of body) {
    if ((read += chunk.length) > size) break;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (read !== size || digestOf(bytes) !== digest)
    throw new LayerstackError('ERR_DIGEST_MISMATCH', `${what}: the registry sends other bytes`, {
      repository: client.repository,
      digest,
    });
  const source = { what, code: 'ERR_CONFIG_INVALID', maxBytes: MAX_CONFIG_BYTES } as const;
  const found = json.decodeJson(platform, bytes, source);
  return found.os === '' && found.architecture === '' ? undefined : found;
}
