/**
 * What every packing of an image archive gives the readers of its formats: a table of members, some of which are
 * read as documents (JSON), others staged as layers. `file.ts` (a plain tar in a file), `folder.ts` (an unpacked
 * one) and `stream.ts` (whatever can be read only once) make it.
 */
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { isDigest, digestOf, type Digest } from '../../core/digest.ts';
import type { LayerContent } from '../ingest/member.ts';
import { cleanName, type Members } from './members.ts';

/** Bytes of one JSON member; real configs stay below 100 KiB, the largest indexes below 1 MiB. */
export const MAX_DOCUMENT = 8 * 1024 * 1024;

/** One regular file of an archive. */
export interface MemberContent extends LayerContent {
  /** The whole content, at most {@link MAX_DOCUMENT}; null where the archive has seen that it is no JSON. */
  read(): Promise<Uint8Array | null>;
}

export interface Archive {
  /** For messages: the path, or words where there is none. */
  readonly sourceName: string;
  readonly members: Members<MemberContent>;
  /** Whether it ends as a whole archive does; of a folder always. */
  readonly ended: boolean;
  close(): Promise<void>;
}

/** A member that a manifest names, found. */
export interface FoundMember {
  /** As the manifest writes it. */
  readonly name: string;
  readonly content: MemberContent;
}

/**
 * Finds a member, through links.
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER where there is none.
 */
export function findMember(archive: Archive, namedBy: string, name: string): FoundMember {
  const found = archive.members.find(name);
  if (found) return { name, content: found.content };
  if (!archive.ended) throw cutOff(archive);
  throw missing(archive, `${namedBy} names '${name}', which the archive does not have`, name);
}

/**
 * The member of a layer, which an archive may leave out where the store has the layer: so that it is missing is told only to
 * who opens it (ERR_ARCHIVE_MEMBER).
 *
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED where the archive was cut off.
 */
export function findLayer(archive: Archive, namedBy: string, name: string): FoundMember {
  if (archive.members.find(name) || !archive.ended) return findMember(archive, namedBy, name);
  const what = name === '' ? 'no file for a layer' : `'${name}', which the archive does not have`;
  const fail = (): Promise<never> =>
    Promise.reject(missing(archive, `${namedBy} names ${what}, nor does the store have the layer`, name));
  return { name, content: { size: 0, open: fail, read: fail } };
}

function missing({ sourceName }: Archive, what: string, member: string): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_MEMBER',
    `${sourceName}: ${what}; the archive is incomplete, save the image again`,
    { path: sourceName, member },
  );
}

/** What was read stays as long as its archive does: a hostile one names the same megabytes again and again. */
const documents = new WeakMap<MemberContent, { readonly bytes: Uint8Array; readonly digest: Digest }>();

/**
 * Reads a JSON member, through links, and checks it against the digest in its name, if it has one.
 *
 * @param code what the error is called where the content cannot be JSON
 * @throws {@link LayerstackError} ERR_ARCHIVE_MEMBER (missing), ERR_LIMIT_EXCEEDED, ERR_DIGEST_MISMATCH, `code`.
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

/** The error of an archive that lacks something and does not end as a whole one does. */
export function cutOff({ sourceName }: Archive): LayerstackError {
  return new LayerstackError(
    'ERR_ARCHIVE_TRUNCATED',
    `${sourceName}: ends between two members, without the zero blocks that end a tar: it was cut off; save or copy it again`,
    { path: sourceName },
  );
}

/**
 * The digest of its content that a member's name announces: `blobs/sha256/H` (OCI layouts), `H.json` and
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
      `the archive is damaged, save the image again`,
    { path: sourceName, member: name, expected, found },
  );
}
