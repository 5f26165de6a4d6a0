/**
 * Reads an uncompressed image archive in a regular file. It reads the headers once to build an index.
 * Afterwards every member is a range of the file, so documents and layers are read directly from it, in any
 * order and in parallel.
 */
import type { FileHandle } from 'node:fs/promises';
import { LayerstackError } from '../../core/errors.ts';
import { call, native, type ArchiveMember } from '../../system/native.ts';
import type { Archive, MemberContent } from './archive.ts';
import { MAX_MEMBERS, Members } from './members.ts';

const BLOCK = 512;

/**
 * Indexes the tar in `file`. Takes ownership of the handle.
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_LIMIT_EXCEEDED (members).
 */
export async function openFile(sourceName: string, file: FileHandle): Promise<Archive> {
  const members = new Members<MemberContent>();
  let end = 0;
  for (const { name, type, linkname, offset, size } of await indexMembers(sourceName, file)) {
    if (type === 'file') members.add(name, range(sourceName, file, offset, size));
    else if (type === 'symlink' || type === 'hardlink') members.addLink(name, type, linkname);
    end = offset + Math.ceil(size / BLOCK) * BLOCK;
  }
  // The zero blocks that end an archive follow its last member.
  const ended = (await file.stat()).size >= end + BLOCK;
  return { sourceName, members, ended, close: () => file.close() };
}

async function indexMembers(sourceName: string, file: FileHandle): Promise<ArchiveMember[]> {
  try {
    return await call(native.indexArchive(file.fd, MAX_MEMBERS));
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    const { code, message, member, found, limit } = error;
    const facts = { path: sourceName, member, found, limit, cause: error };
    throw new LayerstackError(code, `${sourceName}: ${message}; save or copy the archive again`, facts);
  }
}

/** Returns `size` bytes of an open file from `offset` as a member. The caller still owns the handle. */
export function range(sourceName: string, file: FileHandle, offset: number, size: number): MemberContent {
  return {
    size,
    async read() {
      const bytes = Buffer.allocUnsafe(size);
      for (let done = 0; done < size;) {
        const { bytesRead } = await file.read(bytes, done, size - done, offset + done);
        if (bytesRead === 0)
          throw new LayerstackError(
            'ERR_ARCHIVE_TRUNCATED',
            `${sourceName}: became shorter while it was read`,
            {
              path: sourceName,
            },
          );
        done += bytesRead;
      }
      return bytes;
    },
    open: () => Promise.resolve({ source: { fd: file.fd, offset, size }, close: () => Promise.resolve() }),
  };
}
