/**
 * Requests for an image of one platform. An image of layerstack has exactly one platform: either it matches,
 * or the request fails. The texts are dockerd's (moby/moby: daemon/images/image.go).
 */
import { formatPlatform, matchPlatform, parseKnownPlatform } from '../../core/platform.ts';
import type { ImageInspect } from '../../image/store.ts';
import type { Layerstack } from '../layerstack.ts';
import type { ApiRequest } from './request.ts';
import { HttpError } from './status.ts';

/**
 * @param name - the name of the image in the request
 * @param wanted - `os/architecture[/variant]`; undefined: any
 * @throws {@link HttpError} 404 if the image is for another platform
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
 * Checks the `platform` parameter of routes that have it since a version of the API: the JSON of an OCI
 * platform. Reads the images only if the parameter is given.
 * @throws {@link HttpError} 404 if one of them is for another platform
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
