/**
 * Requests that want an image for one platform. An image has one here, so they are answered by it or not at all; words
 * as dockerd's (moby/moby: daemon/images/image.go).
 */
import { formatPlatform, matchPlatform, parseKnownPlatform } from '../../core/platform.ts';
import type { ImageInspect } from '../../image/store.ts';
import type { Layerstack } from '../layerstack.ts';
import type { ApiRequest } from './request.ts';
import { HttpError } from './status.ts';

/**
 * @param name - as the request calls the image
 * @param wanted - `os/architecture[/variant]`; undefined: any
 * @throws {@link HttpError} 404 where the image is for another platform
 */
export function requirePlatform(name: string, image: ImageInspect, wanted: string | undefined): void {
  if (wanted === undefined) return;
  const platform = parseKnownPlatform(wanted);
  const { Os: os, Architecture: architecture, Variant: variant } = image;
  const actual = { os, architecture, ...(variant !== undefined && { variant }) };
  if (matchPlatform([{ platform: actual }], platform) === undefined)
    throw new HttpError(
      404,
      `image with reference ${name} was found but its platform (${formatPlatform(actual)}) ` +
        `does not match the specified platform (${formatPlatform(platform)})`,
    );
}

/**
 * The `platform` parameter of routes that have it since a version of the API, as the JSON of an OCI platform. Looks at the images
 * only where it is given.
 * @throws {@link HttpError} 404 where one of them is for another platform
 */
export async function requireRequestPlatform(
  request: ApiRequest,
  since: string,
  store: Layerstack,
  names: readonly string[],
): Promise<void> {
  const wanted = request.since(since) ? request.query.platforms('platform') : [];
  for (const name of wanted.length > 0 ? names : [])
    requirePlatform(name, await store.images.inspect(name), wanted[0]);
}
