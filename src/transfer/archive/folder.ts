/**
 * Reads an unpacked image archive: an OCI image layout, the unpacked output of `docker save` since version 25
 * (also an OCI layout), or the older docker-archive. Links are followed only inside the folder, as in an
 * archive.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { LayerstackError } from '../../core/errors.ts';
import type { Archive, MemberContent } from './archive.ts';
import { range } from './file.ts';
import { MAX_MEMBERS, Members } from './members.ts';

/** Maximum depth of names. `blobs/sha256/H` is the deepest name of any format. */
const MAX_DEPTH = 3;

/**
 * Lists the folder's files. A folder that has none of `roots` at its top is not an archive, so only its top
 * names are listed.
 */
export async function openFolder(path: string, roots: readonly string[]): Promise<Archive> {
  const members = new Members<MemberContent>();
  const top = await readdir(path);
  if (top.some((name) => roots.includes(name))) await walk(path, '', 1, members);
  else for (const name of top) members.add(name, { size: 0, read: () => Promise.resolve(null) });
  return { sourceName: path, members, ended: true, close: () => Promise.resolve() };
}

async function walk(
  root: string,
  below: string,
  depth: number,
  members: Members<MemberContent>,
): Promise<void> {
  for (const entry of await readdir(join(root, below), { withFileTypes: true })) {
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    if (members.size >= MAX_MEMBERS)
      throw new LayerstackError(
        'ERR_LIMIT_EXCEEDED',
        `${root}: more than ${String(MAX_MEMBERS)} files; an image archive has a few per layer`,
        { path: root, limit: MAX_MEMBERS },
      );
    if (entry.isDirectory()) {
      if (depth < MAX_DEPTH) await walk(root, name, depth + 1, members);
    } else if (entry.isSymbolicLink()) members.addLink(name, 'symlink', await readlink(join(root, name)));
    else if (entry.isFile()) members.add(name, await fileContent(join(root, name)));
  }
}

async function fileContent(path: string): Promise<MemberContent> {
  const { size } = await lstat(path);
  const openFile = () => open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  return {
    size,
    async read() {
      const file = await openFile();
      try {
        return await range(path, file, 0, size).read();
      } finally {
        await file.close();
      }
    },
    async open() {
      const file = await openFile();
      return { source: { fd: file.fd, offset: 0, size }, close: () => file.close() };
    },
  };
}
