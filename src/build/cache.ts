/**
 * The cache: the images that builders have made in this store. A step is found if an image has the parent of
 * the step, and was made by a container with the same config. An image that was pulled or loaded can claim
 * any step, so such images do not count (CVE-2024-24557). Mirrors `moby/moby:
 * image/cache/{cache,compare}.go` at v20.10.
 */
import type { ImageID } from '../core/digest.ts';
import { undefinedIf } from '../core/errors.ts';
import type { Platform } from '../core/platform.ts';
import { compareTimes, parseTime, ZERO_TIME, type Time } from '../core/time.ts';
import { historyDocument, type ImageConfig } from '../image/config.ts';
import { dockerContainerConfig, type ContainerConfig } from '../image/container-config.ts';
import type { ImageStore, NewImage } from '../image/store.ts';

/** The images that may be steps of a build, by their parents. A build reads them once. */
export class BuiltImages {
  readonly #images: ImageStore;
  readonly #sourceDateEpoch: number | undefined;
  #byParent: Promise<Map<ImageID | undefined, Set<ImageID>>> | undefined;

  /** Images that were built with another date do not count. */
  constructor(images: ImageStore, sourceDateEpoch: number | undefined) {
    this.#images = images;
    this.#sourceDateEpoch = sourceDateEpoch;
  }

  async children(parent: ImageID | undefined): Promise<Iterable<ImageID>> {
    return (await this.#read()).get(parent) ?? [];
  }

  /** Adds images that the build has made. */
  async note(images: readonly NewImage[]): Promise<void> {
    const byParent = await this.#read();
    for (const { config, parent } of images) addTo(byParent, parent, config.id);
  }

  #read(): Promise<Map<ImageID | undefined, Set<ImageID>>> {
    this.#byParent ??= this.#images.built().then((built) => {
      const byParent = new Map<ImageID | undefined, Set<ImageID>>();
      for (const { id, parent, sourceDateEpoch } of built)
        if (sourceDateEpoch === this.#sourceDateEpoch) addTo(byParent, parent, id);
      return byParent;
    });
    return this.#byParent;
  }
}

function addTo(
  byParent: Map<ImageID | undefined, Set<ImageID>>,
  parent: ImageID | undefined,
  id: ImageID,
): void {
  byParent.set(parent, (byParent.get(parent) ?? new Set<ImageID>()).add(id));
}

export interface CacheOptions {
  readonly enabled: boolean;
  readonly built: BuiltImages;
  /** The platform of a step on `scratch`. */
  readonly platform: Platform;
  /** Images whose steps count, and no others; undefined for all. */
  readonly sources: readonly ImageConfig[] | undefined;
}

/** The cache of one stage. After a step that is not found, no later step is looked up. */
export class StageCache {
  readonly #images: ImageStore;
  readonly #options: CacheOptions;
  #isOver: boolean;

  constructor(images: ImageStore, options: CacheOptions) {
    this.#images = images;
    this.#options = options;
    this.#isOver = !options.enabled;
  }

  /** Returns the image of a step on `parent`, the newest of several; undefined if it has to be made. */
  async find(parent: ImageConfig | undefined, step: ContainerConfig): Promise<ImageConfig | undefined> {
    if (this.#isOver) return undefined;
    const found = await this.#find(parent, step);
    this.#isOver = found === undefined;
    return found;
  }

  /** Adds images that the stage has made and stored. Other stages find them. */
  async note(images: readonly NewImage[]): Promise<void> {
    await this.#options.built.note(images);
  }

  async #find(parent: ImageConfig | undefined, step: ContainerConfig): Promise<ImageConfig | undefined> {
    const { built, platform } = this.#options;
    let newest: ImageConfig | undefined;
    for (const id of await built.children(parent?.id)) {
      // Another process may remove an image meanwhile.
      const image = await undefinedIf(this.#images.get(id), 'ERR_IMAGE_NOT_FOUND', 'ERR_STORE_CORRUPT');
      if (image === undefined || !isSameStep(image.containerConfig, step)) continue;
      if (!isStepOn(parent, platform, image) || !(await this.#isTrusted(image))) continue;
      if (newest === undefined || compareTimes(dateOf(newest), dateOf(image)) < 0) newest = image;
    }
    return newest;
  }

  /** Returns whether the image is below one of the sources. */
  async #isTrusted({ id }: ImageConfig): Promise<boolean> {
    const { sources } = this.#options;
    if (sources === undefined) return true;
    for (const source of sources) {
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

/**
 * Returns whether an image is that of one step on `parent`. Its parent in the metadata alone does not say so:
 * an archive can set the parent of an image that the store has already.
 */
function isStepOn(parent: ImageConfig | undefined, platform: Platform, image: ImageConfig): boolean {
  const { history = [], diffIds = [] } = parent ?? {};
  const below = image.history.slice(0, -1);
  return (
    image.os === (parent?.os ?? platform.os) &&
    image.architecture === (parent?.architecture || platform.architecture) &&
    (image.variant ?? '') === ((parent ?? platform).variant ?? '') &&
    JSON.stringify(below.map(historyDocument)) === JSON.stringify(history.map(historyDocument)) &&
    image.diffIds.length <= diffIds.length + 1 &&
    diffIds.every((diffId, index) => image.diffIds[index] === diffId)
  );
}

/** docker's `compare`, and HEALTHCHECK: its command in the history lacks `--start-interval`. */
function isSameStep(a: ContainerConfig, b: ContainerConfig): boolean {
  return (
    !a.OpenStdin &&
    !b.OpenStdin &&
    a.AttachStdout === b.AttachStdout &&
    a.AttachStderr === b.AttachStderr &&
    a.User === b.User &&
    a.Tty === b.Tty &&
    LISTS.every((key) => isSame(a[key] ?? [], b[key] ?? [])) &&
    isSame(pairs(a), pairs(b)) &&
    healthcheckOf(a) === healthcheckOf(b)
  );
}

const LISTS = ['Cmd', 'Env', 'Entrypoint', 'ExposedPorts', 'Volumes'] as const;

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word, index) => word === b[index]);
}

function pairs({ Labels }: ContainerConfig): string[] {
  return [...(Labels ?? [])].flat();
}

function healthcheckOf(config: ContainerConfig): string | undefined {
  return JSON.stringify(dockerContainerConfig(config, Number).Healthcheck);
}
