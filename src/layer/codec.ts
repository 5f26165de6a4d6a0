/**
 * Decompresses byte streams for which the native LayerApply is not used: a whole compressed archive, and a
 * zstd layer when a native zstd is not available. All other layers are decompressed by LayerApply.
 */
import { Buffer } from 'node:buffer';
import { LayerstackError } from '../core/errors.ts';
import type { Capabilities } from '../system/caps.ts';
import { call, native, type Compression, type Decoder } from '../system/native.ts';
import { readAhead } from './read-ahead.ts';

type Bytes = AsyncIterable<Uint8Array>;

/** How many of the first bytes tell every compression from the others. */
export const MAGIC_BYTES = 6;

/**
 * Yields the uncompressed bytes of `source`, decoded one chunk ahead of the reader.
 * @throws {@link LayerstackError} (while iterating) ERR_COMPRESSION_UNSUPPORTED for bzip2 and xz;
 *   ERR_LAYER_INVALID for a malformed stream; ERR_LAYER_TRUNCATED for a stream that ends early.
 */
export async function* decompress(
  source: Bytes,
  compression: Compression,
  caps: Pick<Capabilities, 'zstd'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  switch (compression) {
    case 'none':
      yield* source;
      return;
    case 'gzip':
      yield* readAhead(decode(source, new native.Decoder('gzip')));
      return;
    case 'zstd':
      yield* readAhead(
        caps.zstd === 'native' ? decode(source, new native.Decoder('zstd')) : zstdInWorker(source),
      );
      return;
    case 'bzip2':
    case 'xz':
      throw unsupported(compression);
  }
}

/** Returns the error for an unsupported compression. It names the tool that decompresses the file. */
export function unsupported(compression: 'bzip2' | 'xz'): LayerstackError {
  const tool = compression === 'xz' ? 'xz' : 'bzip2';
  return new LayerstackError(
    'ERR_COMPRESSION_UNSUPPORTED',
    `${compression} is not supported: decompress first (\`${tool} -dc FILE | layerstack ...\`), or use gzip or zstd`,
    { found: compression },
  );
}

/** Returns the compression of `source`, judged by its first bytes, and a stream of all its bytes. */
export async function sniff(source: Bytes): Promise<{ compression: Compression; bytes: Bytes }> {
  const iterator = source[Symbol.asyncIterator]();
  const chunks: Uint8Array[] = [];
  let length = 0;
  let done = false;
  while (length < MAGIC_BYTES && !done) {
    const next = await iterator.next();
    if (next.done === true) done = true;
    else {
      chunks.push(next.value);
      length += next.value.length;
    }
  }
  return {
    compression: native.sniffCompression(Buffer.concat(chunks)),
    bytes: rejoin(chunks, iterator, done),
  };
}

async function* rejoin(chunks: Uint8Array[], rest: AsyncIterator<Uint8Array>, done: boolean): Bytes {
  try {
    yield* chunks;
    while (!done) {
      const next = await rest.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}

async function* decode(source: Bytes, decoder: Decoder): Bytes {
  async function* drain(input: Uint8Array | null): Bytes {
    let step = await call(decoder.decode(input));
    for (;;) {
      if (step.chunk.length > 0) yield step.chunk;
      if (!step.more) return;
      step = await call(decoder.decode(undefined));
    }
  }
  for await (const input of source) yield* drain(input);
  yield* drain(null);
}

async function* zstdInWorker(source: Bytes): Bytes {
  const { ZstdWorker } = await import('./zstd.ts');
  const decoder = new ZstdWorker();
  try {
    yield* decode(source, decoder);
  } finally {
    await decoder.close();
  }
}
