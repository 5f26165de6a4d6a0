/**
 * Records the origin of layers: the blobs that were pulled or pushed for a layer, and the repositories that
 * have them. Each blob has two files below `image/overlay2/distribution`, as in dockerd:
 *
 *   diffid-by-digest/sha256/<hex of the blob's digest>   the DiffID
 *   v2metadata-by-diffid/sha256/<hex of the DiffID>      a list, e.g.
 *       [{"Digest":"sha256:…","SourceRepository":"docker.io/library/x","HMAC":""}]
 *
 * The second file lists at most 50 entries, the latest last. The record is a cache: it may be missing, it is
 * not synced, and what it says is verified before it is used. Each file is replaced as a whole. Mirrors
 * moby/moby: distribution/metadata/v2_metadata_service.go at v20.10.
 */
import { createHmac } from 'node:crypto';
import { dirname } from 'node:path';
import { diffIdOf, digestOf, isDigest, type DiffID, type Digest } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import { goJson } from '../core/go-json.ts';
import * as json from '../core/json.ts';
import type { BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { readStoreFile, readTexts } from '../system/store-files.ts';

/** A blob in a repository. */
export interface BlobSource {
  readonly digest: Digest;
  /** With its registry: `docker.io/library/alpine`. */
  readonly repository: string;
  /** {@link sourceHmac} of the login that pushed the blob; empty after a pull. */
  readonly hmac: string;
}

/** The secrets of a login, by docker's names. */
export interface SourceCredentials {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly auth?: string | undefined;
  readonly identitytoken?: string | undefined;
  readonly registrytoken?: string | undefined;
}

const MAX_SOURCES = 50;
const MAX_BYTES = 1024 * 1024;
/** One lock covers all entries, because they are few and small. */
const LOCK_KEY = 'distribution';

const digest: json.Decoder<Digest> = (value, path) => {
  const text = json.string(value, path);
  return isDigest(text) ? text : json.mismatch(path, 'is not a digest');
};

const decodeSources = json.withDefault<
  readonly { readonly Digest: Digest; readonly SourceRepository: string; readonly HMAC: string }[]
>(
  json.array(
    json.object({
      Digest: digest,
      SourceRepository: json.withDefault(json.string, ''),
      HMAC: json.withDefault(json.string, ''),
    }),
  ),
  [],
);

/** The origins of the layers of one root. */
export class Distribution {
  readonly #root: Pick<Root, 'layout' | 'locks' | 'session'>;

  constructor(root: Pick<Root, 'layout' | 'locks' | 'session'>) {
    this.#root = root;
  }

  /** Returns the layer of a blob, where it is known. */
  async diffId(blob: Digest): Promise<DiffID | undefined> {
    const { layout } = this.#root;
    const [text] = await readTexts([layout.at(layout.diffIdByDigest(blob))]);
    return text !== undefined && isDigest(text) ? diffIdOf(text) : undefined;
  }

  /** Returns the blobs of a layer and their repositories, the latest last. */
  async sources(diffId: DiffID): Promise<BlobSource[]> {
    const { layout } = this.#root;
    const path = layout.at(layout.sourcesOf(diffId));
    const bytes = await readStoreFile(path, MAX_BYTES);
    if (bytes === undefined) return [];
    try {
      const source = { what: path, code: 'ERR_STORE_CORRUPT', maxBytes: MAX_BYTES } as const;
      return json.decodeJson(decodeSources, bytes, source).map(({ Digest, SourceRepository, HMAC }) => ({
        digest: Digest,
        repository: SourceRepository,
        hmac: HMAC,
      }));
    } catch (error) {
      if (LayerstackError.is(error)) return [];
      throw error;
    }
  }

  /**
   * Records that these blobs are these layers, as the latest entries. Nothing is synced.
   * @throws {@link LayerstackError} ERR_STORE_READ_ONLY, ERR_ABORTED; system errors.
   */
  async add(
    entries: readonly { readonly diffId: DiffID; readonly source: BlobSource }[],
    signal?: AbortSignal,
  ): Promise<void> {
    const session = this.#root.session();
    const lock = await this.#root.locks.acquire('references', LOCK_KEY, { signal });
    try {
      const { layout } = this.#root;
      const steps: BatchStep[] = [
        { op: 'mkdir', path: dirname(dirname(layout.diffIdsByDigest)), mode: 0o700, exist: true },
      ];
      const replace = (path: string, data: string): BatchStep => ({
        op: 'replace',
        path,
        data,
        mode: 0o644,
        sync: false,
      });
      for (const directory of [layout.diffIdsByDigest, layout.sourcesByDiffId])
        for (const path of [dirname(directory), directory])
          steps.push({ op: 'mkdir', path, mode: 0o755, exist: true });
      for (const { diffId, sources } of await this.#merged(entries)) {
        const document = sources.map(({ digest, repository, hmac }) => ({
          Digest: digest,
          SourceRepository: repository,
          HMAC: hmac,
        }));
        steps.push(replace(layout.sourcesOf(diffId), goJson(document)));
      }
      for (const [blob, diffId] of new Map(entries.map(({ diffId, source }) => [source.digest, diffId])))
        steps.push(replace(layout.diffIdByDigest(blob), diffId));
      await session.replace(steps);
    } finally {
      await lock.release();
    }
  }

  async #merged(
    entries: readonly { readonly diffId: DiffID; readonly source: BlobSource }[],
  ): Promise<{ diffId: DiffID; sources: BlobSource[] }[]> {
    const merged = new Map<DiffID, BlobSource[]>();
    for (const { diffId, source } of entries) {
      const known = merged.get(diffId) ?? (await this.sources(diffId));
      const others = known.filter((each) => !isSame(each, source));
      merged.set(diffId, [...others, source].slice(-MAX_SOURCES));
    }
    return [...merged].map(([diffId, sources]) => ({ diffId, sources }));
  }
}

/**
 * Returns the HMAC that docker writes beside a pushed blob. It recognises the same credentials without
 * revealing them. The key is the digest, as text, of the login as JSON without empty members.
 */
export function sourceHmac(blob: Digest, repository: string, credentials: SourceCredentials = {}): string {
  const { username, password, auth, identitytoken, registrytoken } = credentials;
  const secrets = { username, password, auth, identitytoken, registrytoken };
  const given = Object.fromEntries(Object.entries(secrets).filter(([, value]) => (value ?? '') !== ''));
  const key = digestOf(goJson(given));
  return createHmac('sha256', key).update(`${blob}${repository}`).digest('hex');
}

function isSame(a: BlobSource, b: BlobSource): boolean {
  return a.digest === b.digest && a.repository === b.repository && a.hmac === b.hmac;
}
