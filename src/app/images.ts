/**
 * `store.images`: everything that a store does with its images, except what needs a registry (registry.ts).
 */
import type { Readable } from 'node:stream';
import { checkArguments } from '../core/arguments.ts';
import type { ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag } from '../core/reference.ts';
import type {
  DeletedRecord,
  DeleteOptions,
  HistoryRow,
  ImageInspect,
  ImageSummary,
  LayerTree,
  ListOptions,
  PruneOptions,
  PruneResult,
} from '../image/store.ts';
import { timed, timedBytes } from '../system/phases.ts';
import type { ImportOptions } from '../transfer/archive/import.ts';
import type { LoadOptions, LoadResult } from '../transfer/archive/load.ts';
import type { SaveOptions } from '../transfer/archive/save.ts';
import type { DiskImageOptions } from '../transfer/archive/disk-image.ts';
import type { PackOptions } from '../image/pack.ts';
import type { SettleOptions } from '../image/settle.ts';
import type { BuildOptions, BuildResult, BuildSource } from '../build/options.ts';
import { chooseForm } from './form.ts';
import { requireEmptyFile } from './empty-file.ts';
import { newImageName, type NameOptions } from './new-image-name.ts';
import { signatures } from './signatures/images.ts';
import type { StoreParts } from './store-parts.ts';

const late = () => import('./late/images.ts');

/**
 * The images of a store. An image is named by a reference (`NAME[:TAG]`), by its id, or by the beginning of
 * its id.
 *
 * @example
 * ```ts
 * await store.images.load('alpine.tar');
 * await store.images.tag('alpine:3.20', 'base:1');
 * for (const { Id, RepoTags } of await store.images.list()) console.log(Id, RepoTags);
 * ```
 */
export class Images {
  readonly #parts: StoreParts;

  /** @internal */
  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /**
   * Loads the images of a docker-archive, OCI archive or OCI layout folder. The source is a path, or the
   * archive's bytes. Resolves when the images are durable. After an error the store is as it was: all images
   * come, or none.
   * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_ARCHIVE_MEMBER,
   *   ERR_MANIFEST_INVALID, ERR_CONFIG_INVALID, ERR_LAYER_COUNT, ERR_DIGEST_MISMATCH, ERR_REFERENCE_INVALID,
   *   ERR_LIMIT_EXCEEDED, ERR_LAYER_INVALID and its like, ERR_PLATFORM_NOT_FOUND, ERR_NO_SPACE, ERR_ABORTED,
   *   ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * const onProgress = (event) => console.error(event);
   * const { images } = await store.images.load(process.stdin, { onProgress });
   * ```
   */
  async load(source: string | AsyncIterable<Uint8Array>, options: LoadOptions = {}): Promise<LoadResult> {
    const { load } = await late();
    const { imageEvents, root } = this.#parts;
    const { form, notices } = await chooseForm(root, options.form);
    for (const message of notices) options.onProgress?.({ type: 'notice', message });
    const result = await this.#parts.reclaiming(
      timed('load', 'total', () => load(this.#parts, source, { ...options, form })),
    );
    for (const { id } of result.images) await imageEvents.emit('load', id);
    this.#parts.settleLater(
      form,
      result.images.map(({ id }) => id),
      options.signal,
    );
    return { ...result, notices: [...notices, ...result.notices] };
  }

  /**
   * Returns the archive of images as a stream, in the layout of docker >= 25, which docker since 1.10,
   * podman, skopeo and umoci read. Each name is a reference, an id, or a repository (then all its tags). The
   * layers' bytes are verified on the way; errors come through the stream. Works in a store that is open
   * read-only.
   * @throws {@link LayerstackError} (in the stream) ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS,
   *   ERR_LAYER_NOT_FOUND, ERR_STORE_CORRUPT with the `member` whose content has changed on disk,
   *   ERR_ABORTED.
   * @example
   * ```ts
   * await pipeline(store.images.save(['alpine:latest']), createWriteStream('alpine.tar'));
   * ```
   */
  save(images: string | readonly string[], options: SaveOptions = {}): Readable {
    return this.#parts.streams.from(async () => {
      const { save } = await late();
      return timedBytes('save', save(this.#parts, namesOf(images), { ...options, onSaved: this.#saved }));
    });
  }

  /**
   * Writes the archive that {@link save} returns to an open file, pipe or socket. This is the fastest way to
   * save. Resolves when all of it is written; nothing of it is synced. The fd stays the caller's, also after
   * an error, when part of the archive may be in it.
   * @throws {@link LayerstackError} as {@link save}; system errors of write(2), such as EPIPE and ENOSPC.
   * @example
   * ```ts
   * await using file = await open('alpine.tar', 'w');
   * await store.images.saveTo(file.fd, 'alpine:latest');
   * ```
   */
  async saveTo(fd: number, images: string | readonly string[], options: SaveOptions = {}): Promise<void> {
    if (!Number.isInteger(fd) || fd < 0)
      throw new LayerstackError(
        'ERR_INVALID_ARGUMENT',
        `${fd} is not a file descriptor: open the file first`,
      );
    const { saveTo } = await late();
    await timed('save', 'total', () =>
      saveTo(fd, this.#parts, namesOf(images), { ...options, onSaved: this.#saved }),
    );
  }

  /**
   * Makes an image of a directory or a tar: a whole root file system or, with `base`, one layer on the layers
   * of another image, without a container. The source is a path, or a tar's bytes. Resolves with the image's
   * id when the image is durable, contents included. After an error the store is as it was.
   * @throws {@link LayerstackError} ERR_REFERENCE_INVALID, ERR_INVALID_ARGUMENT for a malformed change or a
   *   missing source, ERR_IMAGE_NOT_FOUND and ERR_ID_AMBIGUOUS for the base, ERR_COMPRESSION_UNSUPPORTED,
   *   ERR_LAYER_INVALID and its like, ERR_UPPER_CHANGED where a file of a directory shrinks meanwhile,
   *   ERR_LIMIT_EXCEEDED, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.images.import('/srv/debian', { reference: 'debian:own', changes: ['CMD ["bash"]'] });
   * await store.images.import('build/rootfs', { base: 'debian:own', reference: 'app:1' });
   * ```
   */
  async import(
    source: string | AsyncIterable<Uint8Array>,
    options: ImportOptions & NameOptions = {},
  ): Promise<ImageID> {
    const name = newImageName(options);
    const { importImage } = await late();
    const { imageEvents, root } = this.#parts;
    const { form, notices } = await chooseForm(root, options.form);
    for (const message of notices) options.onProgress?.({ type: 'notice', message });
    const id = await this.#parts.reclaiming(
      timed('import', 'total', () => importImage(this.#parts, source, name, { ...options, form })),
    );
    this.#parts.settleLater(form, [id], options.signal);
    if (name !== undefined) await imageEvents.emit('tag', id, formatReference(name));
    await imageEvents.emit('import', id);
    return id;
  }

  /**
   * Writes the root file system of an image to an empty regular file: EROFS with 4 KiB blocks, or ext4. The
   * same image gives the same bytes. Nothing is synced. The fd stays the caller's, also after an error, when
   * part of the file system may be in the file.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where `fd` is not a regular file, or not empty, or
   *   the image has no layers, or `size` is too small; ERR_UNSUPPORTED where ext4 needs a program that is
   *   missing; ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT, ERR_LIMIT_EXCEEDED, ERR_NO_SPACE,
   *   ERR_SYSTEM with the words of mke2fs, ERR_ABORTED; system errors of write(2).
   * @example
   * ```ts
   * await using file = await open('disk.erofs', 'w');
   * await store.images.writeDisk(file.fd, 'alpine:latest');
   * ```
   */
  async writeDisk(fd: number, image: string, options: DiskImageOptions = {}): Promise<void> {
    await requireEmptyFile(fd);
    const { writeImageOfImage } = await late();
    const { root, layers, images } = this.#parts;
    await writeImageOfImage(fd, { root, layers, images }, await images.resolve(image), options);
  }

  /**
   * Settles a packed image: extracts its layers from their tars into Docker's form, verified. Then dockerd
   * sees the image. Containers of it keep working. Resolves when the image is durable, with false where it
   * was in Docker's form already.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_CORRUPT for a tar that
   *   was changed, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.images.load('app.tar', { form: 'packed' });
   * await store.images.settle('app:1');
   * ```
   */
  async settle(image: string, options: SettleOptions = {}): Promise<boolean> {
    const { root, images } = this.#parts;
    root.session();
    const id = await images.resolve(image);
    const { settleImage } = await late();
    return this.#parts.reclaiming(settleImage(this.#parts, id, options));
  }

  /**
   * Packs images, the reverse of {@link settle}: writes the tars of their layers, verified, with an index
   * each, and removes the extracted layers. dockerd no longer sees the images. Containers of them keep
   * working. Layers that other images have in Docker's form stay extracted. Layers below mounted containers
   * are removed later, by the next program that opens the store for writing. Resolves when the images are
   * durable, with the given names whose images were changed. After an error all images stay as they were.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_IMAGE_IN_USE where an image
   *   that is not named has all layers of a named one, ERR_UNSUPPORTED where the kernel cannot mount packed
   *   layers, ERR_STORE_CORRUPT for a layer that was changed, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
   * @example
   * ```ts
   * await store.images.pack(['base:1', 'app:1']);
   * ```
   */
  async pack(images: string | readonly string[], options: PackOptions = {}): Promise<string[]> {
    const { root, images: store } = this.#parts;
    root.session();
    const named = new Map<string, ImageID>();
    for (const name of namesOf(images)) named.set(name, await store.resolve(name));
    const { packImages } = await late();
    const packing = packImages(this.#parts, [...named.values()], options);
    const packed = new Set(await this.#parts.reclaiming(packing));
    return [...named].filter(([, id]) => packed.has(id)).map(([name]) => name);
  }

  /**
   * Builds an image from a Dockerfile, as docker's classic builder does. The context is a directory, or a tar
   * (plain or compressed). Missing images of FROM are pulled. Resolves when the image is durable and named.
   * After an error the images of the finished steps stay, which the next build takes from its cache.
   * @throws {@link LayerstackError} ERR_DOCKERFILE_INVALID, ERR_RUN_FAILED where a command of RUN fails,
   *   ERR_PATH_NOT_FOUND for a file that the context does not have, ERR_UNSUPPORTED, ERR_REFERENCE_INVALID,
   *   ERR_RUNTIME_NOT_FOUND, ERR_LAYER_DEPTH, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY; what
   *   `store.registry.pull` throws. Errors of an instruction name its file and line.
   * @example
   * ```ts
   * const { imageId } = await store.images.build('.', { tags: ['app:1'], buildArgs: { VERSION: '2' } });
   * ```
   */
  async build(context: BuildSource, options: BuildOptions = {}): Promise<BuildResult> {
    const { buildImage } = await import('./build-image.ts');
    return this.#parts.reclaiming(timed('build', 'total', () => buildImage(this.#parts, context, options)));
  }

  /** Returns the images, newest first, as `docker images` lists them. */
  list(options: ListOptions = {}): Promise<ImageSummary[]> {
    return this.#parts.images.list(options);
  }

  /**
   * Returns what `docker image inspect` shows of an image.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async inspect(image: string): Promise<ImageInspect> {
    const { images } = this.#parts;
    return images.inspect(await images.resolve(image));
  }

  /**
   * Returns the steps that made an image, newest first, as `docker history` shows them.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS.
   */
  async history(image: string): Promise<HistoryRow[]> {
    const { images } = this.#parts;
    return images.history(await images.resolve(image));
  }

  /** Returns the layers as a tree, with the images on them. */
  tree(): Promise<LayerTree[]> {
    return this.#parts.images.tree();
  }

  /**
   * Names an image, durably. An image that had the name loses it.
   * @throws {@link LayerstackError} ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_REFERENCE_INVALID,
   *   ERR_STORE_READ_ONLY.
   */
  async tag(image: string, reference: string): Promise<void> {
    const target = parseReference(reference);
    if (target.digest !== undefined)
      throw new LayerstackError(
        'ERR_REFERENCE_INVALID',
        `refusing to create a tag with a digest reference: ${reference}`,
        { reference },
      );
    const { images, imageEvents } = this.#parts;
    const id = await images.resolve(image);
    await images.tag(target, id);
    await imageEvents.emit('tag', id, formatReference(withDefaultTag(target)));
  }

  /**
   * Removes a name from its image. With the last name, or where an id is given, deletes the image: its
   * config, the layers that nothing else uses, and its untagged parents. Returns what was done, as docker
   * reports it. The layers' bytes are deleted in the background: `store.close` waits for it.
   * @throws {@link LayerstackError} ERR_IMAGE_IN_USE by containers, child images or (given an id) several
   *   names; ERR_IMAGE_NOT_FOUND, ERR_ID_AMBIGUOUS, ERR_STORE_READ_ONLY.
   */
  remove(image: string, options: DeleteOptions = {}): Promise<DeletedRecord[]> {
    const { images, imageEvents } = this.#parts;
    return images.remove(image, () => this.#parts.users(), options, imageEvents.deleted);
  }

  /**
   * Deletes the images without a tag (with `all`: those without a container), and every layer that nothing
   * refers to.
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a bad filter; ERR_STORE_READ_ONLY unless it is a
   *   dry run.
   */
  async prune(options: PruneOptions = {}): Promise<PruneResult> {
    const { images, events, imageEvents } = this.#parts;
    if (options.dryRun !== true) await this.#parts.removeExpired();
    const result = await images.prune(() => this.#parts.users(), options, imageEvents.deleted);
    if (options.dryRun !== true) events.prune('image', result.SpaceReclaimed);
    return result;
  }

  readonly #saved = (id: ImageID): Promise<void> => this.#parts.imageEvents.emit('save', id);

  static {
    checkArguments(this.prototype, 'store.images', signatures);
  }
}

function namesOf(images: string | readonly string[]): readonly string[] {
  return typeof images === 'string' ? [images] : images;
}
