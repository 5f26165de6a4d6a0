/**
 * Names of the members of an image archive, and the links between them. Links are followed only inside the
 * archive, as if it were unpacked in a chroot: `/` and `..` stop at the archive's root. `docker save` up to
 * version 24 writes a layer that two images share as a symbolic link to the other image's `layer.tar`.
 */
import { LayerstackError } from '../../core/errors.ts';

/** Maximum number of links to follow before they count as a loop; the limit of Linux (path_resolution(7)). */
const MAX_LINKS = 40;

/** Maximum members of an image archive. It is generous, because a layer takes at most three. */
export const MAX_MEMBERS = 100_000;

/**
 * Cleans a name: `./a//b/../c/` -> `a/c`. The root is the empty text. The result never climbs above the root.
 */
export function cleanName(name: string): string {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/**
 * The members of one archive. `T` locates a member's bytes. The last of several members with one name counts.
 */
export class Members<T> {
  readonly #entries = new Map<string, { readonly content: T } | { readonly link: string }>();

  /** Number of distinct names. */
  get size(): number {
    return this.#entries.size;
  }

  /** Cleaned names, in order of appearance. */
  names(): IterableIterator<string> {
    return this.#entries.keys();
  }

  add(name: string, content: T): void {
    this.#entries.set(cleanName(name), { content });
  }

  /**
   * Adds a link. A symbolic link's target is relative to its directory, a hard link's to the archive's root.
   */
  addLink(name: string, type: 'symlink' | 'hardlink', target: string): void {
    const clean = cleanName(name);
    const directory = clean.slice(0, clean.lastIndexOf('/') + 1);
    const base = type === 'hardlink' || target.startsWith('/') ? '' : directory;
    const link = cleanName(base + target);
    if (link !== clean) this.#entries.set(clean, { link });
  }

  /** Returns the member that `name` leads to, with its content; undefined where it does not exist. */
  find(name: string): { readonly name: string; readonly content: T } | undefined {
    let path = cleanName(name);
    for (let followed = 0; followed <= MAX_LINKS; followed++) {
      const next = this.#follow(path);
      if (next === undefined) {
        const entry = this.#entries.get(path);
        return entry && 'content' in entry ? { name: path, content: entry.content } : undefined;
      }
      path = next;
    }
    return undefined;
  }

  /**
   * Returns `path` with its first link (the member itself or a directory above it) replaced by the link's
   * target.
   */
  #follow(path: string): string | undefined {
    for (let end = path.indexOf('/'); ; end = path.indexOf('/', end + 1)) {
      const head = end === -1 ? path : path.slice(0, end);
      const entry = this.#entries.get(head);
      if (entry && 'link' in entry) return cleanName(`${entry.link}/${path.slice(head.length)}`);
      if (end === -1) return undefined;
    }
  }
}

/**
 * Checks a member name that a manifest gives.
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER for an absolute name, or one with a `..` component.
 */
export function checkMemberName(archive: string, manifest: string, name: string): void {
  const reason =
    name === ''
      ? 'an empty name'
      : name.startsWith('/')
        ? `the absolute name '${name}'`
        : name.split('/').includes('..')
          ? `'${name}', which climbs with '..'`
          : undefined;
  if (reason === undefined) return;
  throw new LayerstackError(
    'ERR_ARCHIVE_MEMBER',
    `${archive}: ${manifest} names ${reason}; a manifest may only name members of its own archive`,
    { path: archive, member: name },
  );
}
