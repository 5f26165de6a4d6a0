/**
 * Computes the DiffIDs of an archive that does not contain them (docker before 1.10): it hashes all layers,
 * one after the other. Such an archive has no digests, so its layers cannot be verified.
 */
import { throwIfAborted } from '../core/abort.ts';
import { diffIdOf, type DiffID } from '../core/digest.ts';
import { decompress } from '../layer/codec.ts';
import { readRange } from '../layer/range.ts';
import type { LayerIdentifier } from '../transfer/archive/v1.ts';
import type { LayerMember } from '../transfer/ingest/member.ts';
import { hashed, tooLarge } from './inflate.ts';
import { compressionOf, openRange } from './layers.ts';
import type { SourceOptions } from './source.ts';

const NOT_VERIFIED =
  'The archive is in the format of docker before 1.10, which has no digests: its layers could not be verified';

/** Identifies layers by their bytes. The first use adds a notice. */
export function identifier(options: SourceOptions, notices: string[]): LayerIdentifier {
  let last: Promise<unknown> | undefined;
  return {
    peek(member) {
      if (last === undefined) notices.push(NOT_VERIFIED);
      last ??= Promise.resolve();
      const next = last.then(() => peek(member, options));
      last = next.catch(() => undefined);
      return next;
    },
  };
}

async function peek(
  member: LayerMember,
  { sourceName, caps, maxBytes, signal }: SourceOptions,
): Promise<{ readonly diffId: DiffID }> {
  const { range, close } = await openRange(sourceName, member);
  try {
    const { bytes, digest } = hashed(decompress(readRange(range), await compressionOf(range), caps));
    let size = 0;
    for await (const chunk of bytes) {
      throwIfAborted(signal);
      size += chunk.length;
      if (size > maxBytes) throw tooLarge(sourceName, maxBytes);
    }
    return { diffId: diffIdOf(digest()) };
  } finally {
    await close();
  }
}
