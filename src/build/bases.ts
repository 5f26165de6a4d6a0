/** Finds the images of FROM and `--from`, and pulls those that the store does not have. */
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatPlatform, matchPlatform, parseKnownPlatform, type Platform } from '../core/platform.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ImageStore } from '../image/store.ts';

/** Pulls an image for a platform; without one, for this machine. */
export type PullImage = (reference: string, platform: string | undefined) => Promise<void>;

export class BaseImages {
  readonly #images: ImageStore;
  readonly #pull: PullImage;
  readonly #always: boolean;
  readonly #found = new Map<string, Promise<ImageConfig>>();

  /** @param always - pulls images that the store has, too */
  constructor(images: ImageStore, pull: PullImage, always: boolean) {
    this.#images = images;
    this.#pull = pull;
    this.#always = always;
  }

  /** Returns an image. One build looks each up once, so all stages see the same one. */
  find(reference: string, platform: string | undefined): Promise<ImageConfig> {
    const key = `${platform ?? ''} ${reference}`;
    const finding = this.#found.get(key) ?? this.#find(reference, platform);
    this.#found.set(key, finding);
    return finding;
  }

  async #find(reference: string, platform: string | undefined): Promise<ImageConfig> {
    const wanted = platform === undefined ? undefined : parseKnownPlatform(platform);
    if (!this.#always) {
      const image = await this.#local(reference);
      if (image !== undefined && fits(image, wanted)) return image;
    }
    await this.#pull(reference, platform);
    const image = await this.#images.get(await this.#images.resolve(reference));
    if (fits(image, wanted)) return image;
    throw new LayerstackError(
      'ERR_PLATFORM_NOT_FOUND',
      `image ${reference} is for ${image.os}/${image.architecture}, not for ${formatPlatform(wanted ?? image)}`,
      { reference },
    );
  }

  async #local(reference: string): Promise<ImageConfig | undefined> {
    try {
      const id: ImageID = await this.#images.resolve(reference);
      return await this.#images.get(id);
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_IMAGE_NOT_FOUND')) return undefined;
      throw error;
    }
  }
}

function fits(image: ImageConfig, wanted: Platform | undefined): boolean {
  if (wanted === undefined) return true;
  return matchPlatform([{ platform: image }], wanted) !== undefined;
}
