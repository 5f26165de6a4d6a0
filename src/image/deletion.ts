/**
 * Plans the deletion of an image: which references and images are removed, and what prevents it. A plan reads
 * the state of the store and changes nothing on disk; image/gc.ts carries it out. Rules and words are
 * dockerd's (docs/docker-overlay2-store.md, "Image delete and prune: order of operations").
 * Mirrors `moby/moby: daemon/images/image_delete.go` at v20.10.
 */
import { hexOf, type ImageID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { formatReference, parseReference, withDefaultTag, type Reference } from '../core/reference.ts';
import type { MutableReferences } from './references.ts';

/** The facts of a container that matter to its image. */
export interface ImageUser {
  readonly containerId: string;
  readonly imageId: ImageID | undefined;
  /** The container runs, or is mounted, so its image cannot be deleted even by force. */
  readonly running: boolean;
}

/** One record of a deletion, in the form of docker's API. */
export type DeletedRecord = { readonly Untagged: string } | { readonly Deleted: string };

/** One record of a deletion, in the form of docker's events: a name was removed, or the image. */
export interface DeletionStep {
  readonly action: 'untag' | 'delete';
  readonly id: ImageID;
}

/** The state of the store on which deletions depend. */
export interface DeletionState {
  readonly references: MutableReferences;
  /** The parent of every image that has one in the store. */
  readonly parents: ReadonlyMap<ImageID, ImageID>;
  readonly users: readonly ImageUser[];
}

export interface DeleteOptions {
  /**
   * Deletes the image even where stopped containers use it, or several repositories name it. Default false.
   */
  readonly force?: boolean | undefined;
  /** Keeps untagged parents, which are otherwise deleted with their last child. Default false. */
  readonly noPrune?: boolean | undefined;
}

interface Conflict {
  readonly hard: boolean;
  readonly used: boolean;
  readonly message: string;
}

/** Plans deletions one after the other. Each starts from the state that the previous ones leave. */
export class Deletion {
  /** The records in order, without those of layers. */
  readonly records: DeletedRecord[] = [];
  /** The same records, by image. */
  readonly steps: DeletionStep[] = [];
  /** The deleted images, in order. */
  readonly images: ImageID[] = [];
  readonly #state: DeletionState;
  readonly #names: Map<ImageID, readonly Reference[]>;
  readonly #children = new Map<ImageID, Set<ImageID>>();

  constructor(state: DeletionState) {
    this.#state = state;
    this.#names = new Map(state.references.byImage());
    for (const [child, parent] of state.parents) {
      const children = this.#children.get(parent) ?? new Set();
      this.#children.set(parent, children.add(child));
    }
  }

  /**
   * Plans to delete what `name` means for `id`: one reference, or the image.
   * @throws {@link LayerstackError} ERR_IMAGE_IN_USE, with nothing planned for this name.
   */
  remove(id: ImageID, name: string, { force = false, noPrune = false }: DeleteOptions = {}): void {
    if (isPrefix(id, name)) {
      const references = this.#references(id);
      if (isSingle(references)) {
        this.#require(this.#conflict(id, { force, references: false }), id);
        this.#untag(id, ...references);
      }
      this.#delete(id, { force, noPrune, quiet: false });
    } else if (!this.#removeReference(id, name, force)) {
      this.#delete(id, { force, noPrune, quiet: true });
    }
  }

  /** Returns whether other references remain, so that nothing more is deleted. */
  #removeReference(id: ImageID, name: string, force: boolean): boolean {
    const user = this.#state.users.find(({ imageId }) => imageId === id);
    if (!force && user !== undefined && isSingle(this.#references(id))) {
      const containerId = user.containerId.slice(0, 12);
      throw inUse(
        `conflict: unable to remove repository reference "${name}" (must force) - container ${containerId} is using ` +
          `its referenced image ${short(id)}`,
        id,
      );
    }
    const reference = withDefaultTag(parseReference(name));
    this.#untag(id, reference);
    const ofRepository = this.#references(id).filter(({ repository }) => repository === reference.repository);
    // Digests of a repository are useless without a tag in it.
    if (reference.digest === undefined && ofRepository.every(({ tag }) => tag === undefined))
      this.#untag(id, ...ofRepository);
    return this.#references(id).length > 0;
  }

  #delete(
    id: ImageID,
    {
      force,
      noPrune,
      quiet,
    }: { readonly force: boolean; readonly noPrune: boolean; readonly quiet: boolean },
  ): void {
    const conflict = this.#conflict(id, { force, references: true });
    // Removing the reference fulfils the request while the image is still used.
    if (conflict && quiet && (conflict.used || !this.#isDangling(id))) return;
    this.#require(conflict, id);
    this.#untag(id, ...this.#references(id));
    this.images.push(id);
    this.records.push({ Deleted: id });
    this.steps.push({ action: 'delete', id });
    const parent = this.#state.parents.get(id);
    if (parent !== undefined) this.#children.get(parent)?.delete(id);
    if (noPrune || parent === undefined || this.images.includes(parent)) return;
    this.#delete(parent, { force: false, noPrune, quiet: true });
  }

  /**
   * Returns the first obstacle to a deletion; with `references`, remaining references are an obstacle too.
   */
  #conflict(
    id: ImageID,
    check: { readonly force: boolean; readonly references: boolean },
  ): Conflict | undefined {
    if (this.#hasChildren(id))
      return { hard: true, used: false, message: 'image has dependent child images' };
    const users = this.#state.users.filter(({ imageId }) => imageId === id);
    const running = users.find((user) => user.running);
    if (running)
      return {
        hard: true,
        used: true,
        message: `image is being used by running container ${running.containerId.slice(0, 12)}`,
      };
    if (check.force) return undefined;
    if (check.references && this.#references(id).length > 0)
      return { hard: false, used: false, message: 'image is referenced in multiple repositories' };
    if (users[0])
      return {
        hard: false,
        used: true,
        message: `image is being used by stopped container ${users[0].containerId.slice(0, 12)}`,
      };
    return undefined;
  }

  #require(conflict: Conflict | undefined, id: ImageID): void {
    if (conflict === undefined) return;
    const way = conflict.hard ? 'cannot be forced' : 'must be forced';
    throw inUse(`conflict: unable to delete ${short(id)} (${way}) - ${conflict.message}`, id);
  }

  #untag(id: ImageID, ...references: readonly Reference[]): void {
    for (const reference of references) {
      this.#state.references.delete(reference);
      this.records.push({ Untagged: formatReference(reference) });
      this.steps.push({ action: 'untag', id });
    }
    this.#names.set(
      id,
      this.#references(id).filter((kept) => this.#state.references.get(kept) === id),
    );
  }

  #references(id: ImageID): readonly Reference[] {
    return this.#names.get(id) ?? [];
  }

  #hasChildren(id: ImageID): boolean {
    return (this.#children.get(id)?.size ?? 0) > 0;
  }

  #isDangling(id: ImageID): boolean {
    return this.#references(id).length === 0 && !this.#hasChildren(id);
  }
}

/** Returns whether `name` is the image's id or a prefix of it, and so means the image and not a reference. */
function isPrefix(id: ImageID, name: string): boolean {
  return id.startsWith(name) || hexOf(id).startsWith(name);
}

/** Returns whether the references have at most one tag, and are all in one repository. */
function isSingle(references: readonly Reference[]): boolean {
  if (references.length <= 1) return true;
  const tags = references.filter(({ digest }) => digest === undefined);
  return tags.length <= 1 && new Set(references.map(({ repository }) => repository)).size === 1;
}

function short(id: ImageID): string {
  return hexOf(id).slice(0, 12);
}

function inUse(message: string, id: ImageID): LayerstackError {
  return new LayerstackError('ERR_IMAGE_IN_USE', message, { id });
}
