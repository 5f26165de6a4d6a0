/**
 * The record of an image that a builder made in this store: the key `builtLocally` of its metadata. The cache
 * of builds trusts only such images, because an image that was pulled or loaded can claim any step. dockerd
 * writes the byte 1 since 23.0.11, and takes other bytes for no record. An archive cannot set the key.
 */
import type { ImageID } from '../core/digest.ts';

/** How an image was built. */
export interface BuildRecord {
  /** The date in seconds since 1970 that the caller of the build gave. */
  readonly sourceDateEpoch: number | undefined;
}

/** An image that a builder made in this store. */
export interface BuiltImage extends BuildRecord {
  readonly id: ImageID;
  readonly parent: ImageID | undefined;
}

const BUILT = '\u0001';
const MAX_DIGITS = 15;

/** Returns the value of the key. */
export function formatBuildRecord({ sourceDateEpoch }: BuildRecord): string {
  return sourceDateEpoch === undefined ? BUILT : String(sourceDateEpoch);
}

/** Returns undefined for a value that says nothing about a build. */
export function parseBuildRecord(text: string | undefined): BuildRecord | undefined {
  if (text === undefined) return undefined;
  if (text.startsWith(BUILT)) return { sourceDateEpoch: undefined };
  const isDate = text.length <= MAX_DIGITS && /^\d+$/.test(text);
  return isDate ? { sourceDateEpoch: Number(text) } : undefined;
}
