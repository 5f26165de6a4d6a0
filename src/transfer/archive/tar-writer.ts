/**
 * The tar around an image archive: plain ustar members of root, every byte determined by what goes in. Sizes of
 * 8 GiB and more are in base 256, which GNU tar, bsdtar, Go and Python read.
 */
import { Buffer } from 'node:buffer';
import { LayerstackError } from '../../core/errors.ts';

const BLOCK = 512;
const MAX_OCTAL = 0o77777777777;

export interface TarMember {
  /** ASCII, at most 100 characters. */
  readonly name: string;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Undefined for a directory. */
  readonly content?: { readonly size: number; open(): AsyncIterable<Uint8Array> } | undefined;
}

/**
 * The archive of `members`, in their order, straight from their contents.
 * @throws {@link LayerstackError} (while iterating) ERR_INTERNAL when a content is not as long as it said.
 */
export async function* packTar(members: Iterable<TarMember>): AsyncGenerator<Uint8Array, void, undefined> {
  for (const member of members) {
    yield header(member);
    if (member.content === undefined) continue;
    let left = member.content.size;
    for await (const chunk of member.content.open()) {
      left -= chunk.length;
      if (left < 0) break;
      yield chunk;
    }
    if (left !== 0)
      throw new LayerstackError(
        'ERR_INTERNAL',
        `${member.name} is not as long as announced: ${member.content.size}`,
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
