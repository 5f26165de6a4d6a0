/**
 * Digests, and the three meanings that a digest has in a store. A digest is `sha256:` and 64 lower-case hex
 * digits (71 bytes). dockerd ignores every other algorithm on disk, so this file knows no other. Mirrors
 * `opencontainers/image-spec: config.md` (DiffID, ChainID, ImageID).
 */
import { hash } from 'node:crypto';
import { LayerstackError } from './errors.ts';

/** `sha256:` and the hash of some exact bytes. */
export type Digest = string & { readonly __brand: 'Digest' };
/** Digest of a layer's *uncompressed* tar. Never the digest of a compressed blob. */
export type DiffID = Digest & { readonly __diffId: true };
/** Names a layer together with all layers below it. */
export type ChainID = Digest & { readonly __chainId: true };
/** Digest of an image's config; it names the image. */
export type ImageID = Digest & { readonly __imageId: true };

/** The DiffID of an empty tar (1024 NUL bytes), which early `docker build` made for steps without files. */
export const EMPTY_LAYER_DIFF_ID =
  'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef' as DiffID;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const HEX64 = /^[0-9a-f]{64}$/;

/** Whether `text` is 64 lower-case hex digits: a digest without its algorithm, or the id of a container. */
export function isHex64(text: string): boolean {
  return HEX64.test(text);
}

/** Whether `text` is a digest. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/**
 * Returns the text as a digest.
 * @throws {@link LayerstackError} ERR_DIGEST_INVALID when it is not `sha256:` and 64 lower-case hex digits.
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
  throw new LayerstackError(
    'ERR_DIGEST_INVALID',
    `${JSON.stringify(shown)} is not a digest: it must be "sha256:" and 64 lower-case hex digits`,
    { digest: shown },
  );
}

/** The digest of these 64 hex digits; the opposite of {@link hexOf}. */
export function digestOfHex(hex: string): Digest {
  return `sha256:${hex}` as Digest;
}

/** A digest that is known to be of a layer's uncompressed tar. */
export function diffIdOf(digest: Digest): DiffID {
  return digest as DiffID;
}

/** A digest that is known to name a chain of layers. */
export function chainIdOf(digest: Digest): ChainID {
  return digest as ChainID;
}

/** A digest that is known to be of an image's config. */
export function imageIdOf(digest: Digest): ImageID {
  return digest as ImageID;
}

/** The 64 hex digits, which name files and directories in the store. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

/** The digest of these bytes (of the UTF-8 form of a string). */
export function digestOf(bytes: Uint8Array | string): Digest {
  return digestOfHex(hash('sha256', bytes));
}

/**
 * Returns the ChainID of every layer, bottom to top. That of the lowest layer is its DiffID. That of every
 * other layer is the digest of the text `ChainID(below) + " " + DiffID`.
 */
export function chainIds(diffIds: readonly DiffID[]): ChainID[] {
  const chain: ChainID[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(chainIdOf(below === undefined ? diffId : digestOf(`${below} ${diffId}`)));
  }
  return chain;
}

/** The ChainID of the topmost layer, or undefined for an image without layers. */
export function topChainId(diffIds: readonly DiffID[]): ChainID | undefined {
  return chainIds(diffIds).at(-1);
}
