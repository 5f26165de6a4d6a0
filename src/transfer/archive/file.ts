/**
 * An uncompressed image archive in a regular file: its headers are read once for an index, after which every
 * member is a range of the file that documents and layers are read from directly, in any order and in parallel.
 */
import type { FileHandle } from 'node:fs/promises';
import { LayerstackError } from '../../core/errors.ts';
import { call, native } from '../../system/native.ts';
import type { Archive, MemberContent } from './archive.ts';
import { MAX_MEMBERS, Members } from './members.ts';

const BLOCK = 512;

/**
 * Indexes the tar in `file`, and owns the handle from then on.
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_LIMIT_EXCEEDED (members).
 */
export async function openFile(label: string, file: FileHandle): Promise<Archive> {
  const members = new Members<MemberContent>();
  for (const { name, type, linkname, offset, size } of await call(
    native.indexArchive(file.fd, MAX_MEMBERS),
  )) {
    if (type === 'file') members.add(name, range(label, file, offset, size));
    else if (type === 'symlink' || type === 'hardlink') members.addLink(name, type, linkname);
  }
  return { label, members, ended: await endsWithZeros(file), close: () => file.close() };
}

async function endsWithZeros(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size < BLOCK) return false;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BLOCK, 1), 0, BLOCK, size - BLOCK);
  return bytesRead === BLOCK && buffer.every((byte) => byte === 0);
}

/** The bytes `offset`, `size` of an open file as a member. The handle stays the caller's. */
export function range(label: string, file: FileHandle, offset: number, size: number): MemberContent {
  return {
    size,
    async read() {
      const bytes = Buffer.allocUnsafe(size);
      for (let done = 0; done < size;) {
        const { bytesRead } = await file.read(bytes, done, size - done, offset + done);
        if (bytesRead === 0)
          throw new LayerstackError('ERR_ARCHIVE_TRUNCATED', `${label}: became shorter while it was read`, {
            path: label,
          });
        done += bytesRead;
      }
      return bytes;
    },
    open: () => Promise.resolve({ source: { fd: file.fd, offset, size }, close: () => Promise.resolve() }),
  };
}
