/** The config of a place's image: `image.json`, with the bytes whose digest is the image's id. */
import { join } from 'node:path';
import { LayerstackError } from '../core/errors.ts';
import { MAX_CONFIG_BYTES, parseImageConfig, type ImageConfig } from '../image/config.ts';
import { call, native } from '../system/native.ts';
import { spaceError } from '../system/space.ts';
import { readStoreFile } from '../system/store-files.ts';
import type { Place } from './place.ts';

const NAME = 'image.json';

/** @throws {@link LayerstackError} ERR_NO_SPACE; system errors. */
export async function writeImageConfig(place: Place, { raw }: ImageConfig): Promise<void> {
  try {
    await call(native.batch(place.path, [{ op: 'write', path: NAME, data: raw, mode: 0o600 }]));
  } catch (error) {
    throw spaceError(error, place.path, `in ${place.path}`);
  }
}

/** @throws {@link LayerstackError} ERR_STORE_CORRUPT where the place has none. */
export async function readImageConfig(place: string): Promise<ImageConfig> {
  const path = join(place, NAME);
  const raw = await readStoreFile(path, MAX_CONFIG_BYTES);
  if (raw !== undefined) return parseImageConfig(raw);
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${path} is missing: another version of layerstack may have mounted the archive; unmount it, and mount it again`,
    { path },
  );
}
