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

/** The notice about such an archive. */
export const NO_DIGESTS =
  'The archive is in the format of docker before 1.10, which has no digests: its layers could not be verified';

/** Identifies layers by their bytes. */
export class ByteIdentifier implements LayerIdentifier {
  readonly #options: SourceOptions;
  #last: Promise<unknown> | undefined;

  constructor(options: SourceOptions) {
    this.#options = options;
  }

  /** The archive contains no digests, so its layers were identified by their bytes. */
  get isUsed(): boolean {
    return this.#last !== undefined;
  }

  peek(member: LayerMember): Promise<{ readonly diffId: DiffID }> {
    const next = (this.#last ?? Promise.resolve()).then(() => peek(member, this.#options));
    this.#last = next.catch(() => undefined);
    return next;
  }
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
