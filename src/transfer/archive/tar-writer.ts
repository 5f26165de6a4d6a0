/**
 * Writes the outer tar of an image archive: plain ustar members of root. The input determines every byte.
 * Sizes of 8 GiB and more are in base 256, which GNU tar, bsdtar, Go and Python read.
 */
import { Buffer } from 'node:buffer';
import { isUint8Array } from 'node:util/types';
import { LayerstackError } from '../../core/errors.ts';
import { writeBytes } from '../../system/write-bytes.ts';

const BLOCK = 512;
const MAX_OCTAL = 0o77777777777;

export interface TarMember {
  /** ASCII, at most 100 characters. */
  readonly name: string;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Undefined for a directory. */
  readonly content?: TarContent | undefined;
}

export interface TarContent {
  readonly size: number;
  open(): AsyncIterable<Uint8Array>;
  /** Writes the same content directly to an open file, where that is possible. Yields the written pieces. */
  writeTo?(fd: number): AsyncIterable<Written>;
}

/** Bytes that are already at their destination. */
export interface Written {
  readonly length: number;
}

/**
 * Yields the archive of `members`, in their order, directly from their contents.
 * @throws {@link LayerstackError} (while iterating) ERR_INTERNAL when a content does not have its declared
 *   length.
 */
export function packTar(members: Iterable<TarMember>): AsyncGenerator<Uint8Array, void, undefined> {
  return pack(members, (content) => content.open());
}

/**
 * Writes the same archive to an open file, and yields the pieces that have been written. It syncs nothing.
 * @throws as {@link packTar}; {@link LayerstackError} ERR_ABORTED; system errors of write(2).
 */
export async function* packTarTo(
  fd: number,
  members: Iterable<TarMember>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Written, void, undefined> {
  const parts = pack<Uint8Array | Written>(members, (content) => content.writeTo?.(fd) ?? content.open());
  for await (const part of parts) {
    if (isUint8Array(part)) await writeBytes(fd, part, signal);
    yield part;
  }
}

async function* pack<Part extends Written>(
  members: Iterable<TarMember>,
  read: (content: TarContent) => AsyncIterable<Part>,
): AsyncGenerator<Part | Uint8Array, void, undefined> {
  for (const member of members) {
    yield header(member);
    if (member.content === undefined) continue;
    let left = member.content.size;
    for await (const part of read(member.content)) {
      left -= part.length;
      if (left < 0) break;
      yield part;
    }
    if (left !== 0)
      throw new LayerstackError(
        'ERR_INTERNAL',
        `${member.name} does not have its announced size of ${member.content.size} bytes`,
      );
    if (member.content.size % BLOCK !== 0) yield Buffer.alloc(BLOCK - (member.content.size % BLOCK));
  }
  yield Buffer.alloc(2 * BLOCK);
}

function header({ name, mtime, content }: TarMember): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, width: number): void => {
    block.write(value.toString(8).padStart(width - 1, '0'), offset, 'latin1');
  };
  block.write(name, 0, 100, 'latin1');
  octal(content === undefined ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  const size = content?.size ?? 0;
  if (size <= MAX_OCTAL) octal(size, 124, 12);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(mtime, 136, 12);
  block.write(content === undefined ? '5' : '0', 156, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  octal(0, 329, 8);
  octal(0, 337, 8);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
