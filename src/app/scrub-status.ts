/** The place and the results of scrubs, `layerstack/scrub.json` (app/scrub.ts). */
import * as json from '../core/json.ts';
import { LayerstackError } from '../core/errors.ts';
import { isHex64 } from '../core/digest.ts';
import type { Layout } from '../system/layout.ts';
import { call, native } from '../system/native.ts';
import { readStoreFile } from '../system/store-files.ts';

/** The numbers of a pass. */
interface ScrubCounts {
  /** Milliseconds since 1970. */
  readonly began: number;
  /** Layers that were read. */
  readonly layers: number;
  /** Bytes of their content. */
  readonly bytes: number;
  /** Findings, by severity. */
  readonly error: number;
  readonly warning: number;
  readonly note: number;
}

/** A pass that is not complete. */
export interface ScrubPass extends ScrubCounts {
  /** The hex of the ChainID of the last layer that was read to its end; empty before the first. */
  readonly after: string;
}

/** A complete pass. */
export interface ScrubResult extends ScrubCounts {
  /** Milliseconds since 1970. */
  readonly ended: number;
}

export interface ScrubStatus {
  /** The pass that the next scrub continues; null where it begins a new one. */
  readonly pass: ScrubPass | null;
  /** The last complete pass; null before the first. */
  readonly last: ScrubResult | null;
  /** Bytes of content that all scrubs have read. */
  readonly readBytes: number;
}

const NOTHING: ScrubStatus = { pass: null, last: null, readBytes: 0 };
const MAX_BYTES = 64 * 1024;

const COUNTS = {
  began: json.integer,
  layers: json.integer,
  bytes: json.integer,
  error: json.integer,
  warning: json.integer,
  note: json.integer,
};
const decodeStatus = json.object({
  pass: json.optional(json.object({ ...COUNTS, after: json.string })),
  last: json.optional(json.object({ ...COUNTS, ended: json.integer })),
  readBytes: json.integer,
});

/** Returns the status. A missing or damaged file counts as the state before the first scrub. */
export async function readScrub(layout: Layout): Promise<ScrubStatus> {
  const what = layout.at(layout.scrub);
  try {
    const bytes = await readStoreFile(what, MAX_BYTES);
    if (bytes === undefined) return NOTHING;
    const source = { what, code: 'ERR_STORE_CORRUPT', maxBytes: MAX_BYTES } as const;
    const { pass = null, last = null, readBytes } = json.decodeJson(decodeStatus, bytes, source);
    return { pass: pass !== null && isPlace(pass.after) ? pass : null, last, readBytes };
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_STORE_CORRUPT')) return NOTHING;
    throw error;
  }
}

function isPlace(after: string): boolean {
  return after === '' || isHex64(after);
}

/** Writes the status. A kill leaves the old file or the new one. Not synced. */
export async function writeScrub({ root, own, scrub }: Layout, status: ScrubStatus): Promise<void> {
  const fresh = `${scrub}.new`;
  await call(
    native.batch(root, [
      { op: 'mkdir', path: own, mode: 0o700, exist: true },
      { op: 'unlink', path: fresh, missing: true },
      { op: 'write', path: fresh, data: JSON.stringify(status), mode: 0o600 },
      { op: 'rename', from: fresh, to: scrub },
    ]),
  );
}
