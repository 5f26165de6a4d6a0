/**
 * Computes the DiffIDs of an archive that does not contain them (docker before 1.10), by hashing all layers.
 */
import type { DiffID } from '../core/digest.ts';
import { decompress } from '../layer/codec.ts';
import { readRange } from '../layer/range.ts';
import type { LayerIdentifier } from '../transfer/archive/v1.ts';
import { hashed } from './inflate.ts';
import { compressionOf, openRange } from './layers.ts';
import type { SourceOptions } from './source.ts';

export function identifier({
  sourceName,
  caps,
}: Pick<SourceOptions, 'sourceName' | 'caps'>): LayerIdentifier {
  return {
    async peek(member) {
      const { range, close } = await openRange(sourceName, member);
      try {
        const { bytes, digest } = hashed(decompress(readRange(range), await compressionOf(range), caps));
        for await (const chunk of bytes) void chunk;
        return { diffId: digest() as DiffID };
      } finally {
        await close();
      }
    },
  };
}
