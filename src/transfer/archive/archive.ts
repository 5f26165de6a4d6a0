/**
 * The common view of an image archive that the readers of all formats use: a table of members. Readers parse
 * some members as documents (JSON) and stage others as layers. `file.ts` (a plain tar in a file), `folder.ts`
 * (an unpacked archive) and `stream.ts` (an archive that can be read only once) build it.
 */
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { isDigest, digestOf, type Digest } from '../../core/digest.ts';
import type { LayerContent } from '../ingest/member.ts';
import { cleanName, type Members } from './members.ts';

/** Maximum bytes of one JSON member. Real configs stay below 100 KiB, the largest indexes below 1 MiB. */
export const MAX_DOCUMENT = 8 * 1024 * 1024;

/** One regular file of an archive. */
export interface MemberContent extends LayerContent {
  /**
   * Returns the whole content, at most {@link MAX_DOCUMENT}; null where the archive knows that it is not
   * JSON.
   */
  read(): Promise<Uint8Array | null>;
}

export interface Archive {
  /** Names the archive in messages: its path, or a description where it has no path. */
  readonly sourceName: string;
  readonly members: Members<MemberContent>;
  /** Whether the archive ends as a complete archive does. Always true for a folder. */
  readonly ended: boolean;
  close(): Promise<void>;
}

/** A member that a manifest names and that the archive has. */
export interface FoundMember {
  /** The name as the manifest writes it. */
  readonly name: string;
  readonly content: MemberContent;
}

/**
 * Finds a member, through links.
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER where the member does not exist.
 */
export function findMember(archive: Archive, namedBy: string, name: string): FoundMember {
  const found = archive.members.find(name);
  if (found) return { name, content: found.content };
  if (!archive.ended) throw cutOff(archive);
  throw missing(archive, `${namedBy} names '${name}', which the archive does not have`, name);
}

/**
 * Returns the member of a layer. An archive may leave out a layer that the store has, so a missing member is
 * an error only when it is opened (ERR_ARCHIVE_MEMBER).
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED where the archive was cut off.
 */
export function findLayer(archive: Archive, namedBy: string, name: string): FoundMember {
  if (archive.members.find(name) || !archive.ended) return findMember(archive, namedBy, name);
  const what = name === '' ? 'no file for a layer' : `'${name}', which the archive does not have`;
  const fail = (): Promise<never> =>
    Promise.reject(
      missing(archive, `${namedBy} names ${what}, and the store does not have the layer either`, name),
    );
  return { name, content: { size: 0, open: fail, read: fail } };
}

function missing({ sourceName }: Archive, what: string, member: string): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_MEMBER',
    `${sourceName}: ${what}; the archive is incomplete: save the image again`,
    { path: sourceName, member },
  );
}

/**
 * Documents stay cached as long as their archive, because a hostile archive names the same megabytes again
 * and again.
 */
const documents = new WeakMap<MemberContent, { readonly bytes: Uint8Array; readonly digest: Digest }>();

/**
 * Reads a JSON member, through links. Checks it against the digest in its name, if the name has one.
 *
 * @param code the error code for content that cannot be JSON
 * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER (missing), ERR_LIMIT_EXCEEDED, ERR_DIGEST_MISMATCH,
 *   `code`.
 */
export async function readDocument(
  archive: Archive,
  namedBy: string,
  name: string,
  code: ErrorCode,
): Promise<Uint8Array> {
  const { content } = findMember(archive, namedBy, name);
  const facts = { path: archive.sourceName, member: name };
  if (content.size > MAX_DOCUMENT)
    throw new LayerstackError(
      'ERR_LIMIT_EXCEEDED',
      `${archive.sourceName}: '${name}' has ${String(content.size)} bytes; a JSON member may have ${String(MAX_DOCUMENT)}`,
      { ...facts, limit: MAX_DOCUMENT, found: content.size },
    );
  const known = documents.get(content);
  const bytes = known?.bytes ?? (await content.read());
  if (bytes === null)
    throw new LayerstackError(
      code,
      `${archive.sourceName}: '${name}' is not JSON; save the image again`,
      facts,
    );
  const digest = known?.digest ?? digestOf(bytes);
  documents.set(content, { bytes, digest });
  checkAnnounced(archive.sourceName, name, digest);
  return bytes;
}

/** Returns the error for an archive that lacks something and does not end as a complete archive does. */
export function cutOff({ sourceName }: Archive): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_TRUNCATED',
    `${sourceName}: ends between two members, without the zero blocks that end a tar: it was cut off; save or copy it again`,
    { path: sourceName },
  );
}

/**
 * Returns the content digest that a member's name announces: `blobs/sha256/H` (OCI layouts), `H.json` and
 * `sha256:H` (configs as docker, podman, skopeo and crane name them).
 */
export function announcedDigest(name: string): Digest | undefined {
  const match = /^(?:blobs\/sha256\/|sha256:)([0-9a-f]{64})$|^([0-9a-f]{64})\.json$/.exec(cleanName(name));
  const digest = `sha256:${match?.[1] ?? match?.[2] ?? ''}`;
  return isDigest(digest) ? digest : undefined;
}

/** @throws {@link LayerstackError} ERR_DIGEST_MISMATCH when the member's name announces another digest. */
export function checkAnnounced(sourceName: string, name: string, found: string): void {
  const expected = announcedDigest(name);
  if (expected === undefined || expected === found) return;
  throw new LayerstackError(
    'ERR_DIGEST_MISMATCH',
    `${sourceName}: '${name}' has the digest ${found}, not the one in its name; ` +
      `the archive is damaged: save the image again`,
    { path: sourceName, member: name, expected, found },
  );
}
