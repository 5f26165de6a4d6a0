/**
 * Rebuilds a layer's tar, bit for bit, from its directory and its tar-split, or reads it. While the tar
 * streams, each file of a directory is compared with its CRC-64, and the whole with the DiffID. Mirrors
 * `vbatts/tar-split: tar/asm/assemble.go`.
 */
import { constants } from 'node:fs';
import type { DiffID } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { call, native, type TarFiles } from '../system/native.ts';
import { openStoreFile } from '../system/store-files.ts';
import { readAhead } from './read-ahead.ts';

/** The place of a layer: its `diff` directory and `tar-split.json.gz`, or its tar. Paths are absolute. */
export type AssembleSource = TarFiles & { readonly diffId: DiffID };

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
  const assembler = new native.LayerAssembler(source, source.diffId);
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
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT when the tar-split is damaged; system error ENOENT where
 *   it is missing.
 */
export async function layerTarSize(source: AssembleSource): Promise<number> {
  try {
    if ('tarSplit' in source) return await call(native.layerTarSize(source.tarSplit));
    const tar = await openStoreFile(source.tar, constants.O_RDONLY);
    try {
      return (await tar.stat()).size;
    } finally {
      await tar.close();
    }
  } catch (error) {
    throw nameLayer(error, source);
  }
}

async function* readAll(source: AssembleSource): AsyncGenerator<Uint8Array, void, undefined> {
  const assembler = new native.LayerAssembler(source, source.diffId);
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
export function nameLayer(error: unknown, source: AssembleSource): unknown {
  if (!LayerstackError.is(error)) return error;
  const { code, message, member, expected, found } = error;
  const { diffId } = source;
  const help = code === 'ERR_STORE_CORRUPT' ? '; load its image again to repair it' : '';
  return new LayerstackError(code, `layer ${diffId}: ${message}${help}`, {
    layer: diffId,
    member,
    expected,
    found,
    path: error.path ?? ('tar' in source ? source.tar : source.tarSplit),
    cause: error,
  });
}
