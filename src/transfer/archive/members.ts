/**
 * Names of the members of an image archive, and the links between them. A link is followed inside the archive
 * only, as if it were unpacked in a chroot: `/` and `..` stop at the archive's root. `docker save` up to version
 * 24 writes a layer that two images share as a symbolic link to the other's `layer.tar`.
 */
import { LayerstackError } from '../../core/errors.ts';

/** How many links are followed before they count as a loop; what Linux allows (path_resolution(7)). */
const MAX_LINKS = 40;

/** Members an image archive may have: a layer takes three at most, so that this is generous. */
export const MAX_MEMBERS = 100_000;

/** `./a//b/../c/` -> `a/c`; the root itself is the empty text. Never climbs. */
export function cleanName(name: string): string {
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** The members of one archive: `T` says where one's bytes are. The last of several with one name counts. */
export class Members<T> {
  readonly #entries = new Map<string, { readonly content: T } | { readonly link: string }>();

  /** How many distinct names there are. */
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

  /** A symbolic link's target is relative to its directory, a hard link's to the archive's root. */
  addLink(name: string, type: 'symlink' | 'hardlink', target: string): void {
    const clean = cleanName(name);
    const directory = clean.slice(0, clean.lastIndexOf('/') + 1);
    const base = type === 'hardlink' || target.startsWith('/') ? '' : directory;
    const link = cleanName(base + target);
    if (link !== clean) this.#entries.set(clean, { link });
  }

  /** The member that `name` leads to and its content, or undefined where there is none. */
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

  /** `path` with the first link in it (the member itself or a directory above it) replaced by its target. */
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
 * Checks a name that a manifest gives for a member.
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
