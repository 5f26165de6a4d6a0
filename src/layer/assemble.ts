/**
 * Rebuilds a layer's tar, bit for bit, from its directory and its tar-split. While the tar streams, each file
 * is compared with its CRC-64, and the whole with the DiffID. Mirrors `vbatts/tar-split:
 * tar/asm/assemble.go`.
 */
import type { DiffID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { call, native } from '../system/native.ts';
import { readAhead } from './read-ahead.ts';

/** The place of a layer. Paths are absolute. */
export interface AssembleSource {
  /** Its own `overlay2/<cache-id>/diff`. */
  readonly diff: string;
  /** Its `tar-split.json.gz`. */
  readonly tarSplit: string;
  readonly diffId: DiffID;
}

/**
 * Yields the layer's tar in pieces of up to 256 KiB, and reads the next piece while the caller works on one.
 * It ends without an error only if the digest is right.
 * @throws {@link LayerstackError} (while iterating) ERR_STORE_CORRUPT, naming the layer and, where a file is
 *   at fault, the `member`.
 */
export async function* assembleLayer(source: AssembleSource): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* readAhead(readAll(source));
  } catch (error) {
    throw nameLayer(error, source);
  }
}

/**
 * Writes the layer's tar to an open file, and yields the length of each write, up to 8 MiB. Faster than
 * writing the pieces of {@link assembleLayer}, since the bytes stay on one native thread and in the same
 * memory.
 * @throws the errors of {@link assembleLayer}; system errors of write(2).
 */
export async function* writeLayer(
  source: AssembleSource,
  fd: number,
): AsyncGenerator<{ readonly length: number }, void, undefined> {
  const { diff, tarSplit, diffId } = source;
  const assembler = new native.LayerAssembler(diff, tarSplit, diffId);
  try {
    for (;;) {
      const { bytes, ended } = await call(assembler.writeTo(fd));
      yield { length: bytes };
      if (ended) return;
    }
  } catch (error) {
    throw nameLayer(error, source);
  } finally {
    assembler.close();
  }
}

/**
 * Returns the bytes of the layer's tar. Reads the tar-split only.
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the tar-split is damaged.
 */
export async function layerTarSize({ tarSplit, diffId }: Omit<AssembleSource, 'diff'>): Promise<number> {
  try {
    return await call(native.layerTarSize(tarSplit));
  } catch (error) {
    throw nameLayer(error, { tarSplit, diffId });
  }
}

async function* readAll({
  diff,
  tarSplit,
  diffId,
}: AssembleSource): AsyncGenerator<Uint8Array, void, undefined> {
  const assembler = new native.LayerAssembler(diff, tarSplit, diffId);
  try {
    for (;;) {
      const chunk = await call(assembler.read());
      if (chunk === null) return;
      yield chunk;
    }
  } finally {
    assembler.close();
  }
}

/**
 * Adds the name of the layer, and advice, to the error.
 * @internal
 */
export function nameLayer(error: unknown, { tarSplit, diffId }: Omit<AssembleSource, 'diff'>): unknown {
  if (!LayerstackError.is(error)) return error;
  const { code, message, member, expected, found } = error;
  const help = code === 'ERR_STORE_CORRUPT' ? '; load its image again to repair it' : '';
  return new LayerstackError(code, `layer ${diffId}: ${message}${help}`, {
    layer: diffId,
    member,
    expected,
    found,
    path: error.path ?? tarSplit,
    cause: error,
  });
}
