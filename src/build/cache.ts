/**
 * The cache: the images that earlier builds have made, also those of dockerd. A step is found if an image has
 * the parent of the step, and was made by a container with the same config. Mirrors `moby/moby:
 * image/cache/{cache,compare}.go` at v20.10.
 */
import type { ImageID } from '../core/digest.ts';
import { undefinedIf } from '../core/errors.ts';
import { compareTimes, parseTime, ZERO_TIME, type Time } from '../core/time.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import type { ImageStore } from '../image/store.ts';

export interface CacheOptions {
  readonly enabled: boolean;
  /** Images whose steps count, and no others; empty for all. */
  readonly sources: readonly ImageConfig[];
}

/** The cache of one stage. After a step that is not found, no later step is looked up. */
export class StageCache {
  readonly #images: ImageStore;
  readonly #sources: readonly ImageConfig[];
  #isOver: boolean;

  constructor(images: ImageStore, { enabled, sources }: CacheOptions) {
    this.#images = images;
    this.#sources = sources;
    this.#isOver = !enabled;
  }

  /** Returns the image of a step on `parent`, the newest of several; undefined if it has to be made. */
  async find(parent: ImageID | undefined, step: ContainerConfig): Promise<ImageConfig | undefined> {
    if (this.#isOver) return undefined;
    const found = await this.#find(parent, step);
    this.#isOver = found === undefined;
    return found;
  }

  async #find(parent: ImageID | undefined, step: ContainerConfig): Promise<ImageConfig | undefined> {
    let newest: ImageConfig | undefined;
    for (const id of await this.#images.children(parent)) {
      // Another process may remove an image meanwhile.
      const image = await undefinedIf(this.#images.get(id), 'ERR_IMAGE_NOT_FOUND', 'ERR_STORE_CORRUPT');
      if (image === undefined || !isSameStep(image.containerConfig, step)) continue;
      if (!(await this.#isTrusted(image))) continue;
      if (newest === undefined || compareTimes(dateOf(newest), dateOf(image)) < 0) newest = image;
    }
    return newest;
  }

  /** Returns whether the image is below one of the sources. */
  async #isTrusted({ id }: ImageConfig): Promise<boolean> {
    if (this.#sources.length === 0) return true;
    for (const source of this.#sources) {
      let at: ImageID | undefined = source.id;
      const seen = new Set<ImageID>();
      while (at !== undefined && !seen.has(at)) {
        if (at === id) return true;
        seen.add(at);
        at = await this.#images.parent(at);
      }
    }
    return false;
  }
}

function dateOf({ created }: ImageConfig): Time {
  return created ?? (parseTime(ZERO_TIME) as Time);
}

/** docker's `compare`: the members that a step can change. */
function isSameStep(a: ContainerConfig, b: ContainerConfig): boolean {
  return (
    !a.OpenStdin &&
    !b.OpenStdin &&
    a.AttachStdout === b.AttachStdout &&
    a.AttachStderr === b.AttachStderr &&
    a.User === b.User &&
    a.Tty === b.Tty &&
    LISTS.every((key) => isSame(a[key] ?? [], b[key] ?? [])) &&
    isSame(pairs(a), pairs(b))
  );
}

const LISTS = ['Cmd', 'Env', 'Entrypoint', 'ExposedPorts', 'Volumes'] as const;

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word, index) => word === b[index]);
}

function pairs({ Labels }: ContainerConfig): string[] {
  return [...(Labels ?? [])].flat();
}
