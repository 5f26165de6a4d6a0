/**
 * Reads an image archive that can be read only once: a pipe, a download, or an archive that is compressed as
 * a whole. Its members come in any order, often the layers before the manifest that names them. So every
 * member that looks like a layer is staged as it comes, possible JSON documents are kept in memory, and the
 * rest is skipped. No copy of the archive is written to disk.
 */
import { createHash } from 'node:crypto';
import { extract, type Extract } from 'tar-stream';
import { digestOf } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { native } from '../../system/native.ts';
import {
  announcedDigest,
  checkAnnounced,
  MAX_DOCUMENT,
  type Archive,
  type MemberContent,
} from './archive.ts';
import { cleanName, MAX_MEMBERS, Members } from './members.ts';
import { PeekStream } from './peek-stream.ts';
import { isJsonStart, isTarBlock } from './sniff.ts';
import type { LayerPool } from '../ingest/layer-pool.ts';
import { TarFeed } from './tar-feed.ts';
import { FORMAT_MEMBERS, looksLikeRootFs, rootFsError } from './unknown.ts';

/** Maximum bytes of all documents of an archive together. */
const MAX_DOCUMENTS = 32 * 1024 * 1024;

const BLOCK = 512;

/** Maximum length of a path: PATH_MAX, as for an archive in a file (native/format/tar_index). */
const MAX_NAME = 4096;

/**
 * Number of members after which a root file system is recognised, so that it is not read to its end in vain.
 */
const ROOT_FS_CHECK = 64;

/**
 * Reads the uncompressed tar `source` to its end. On return the layers in it are staged.
 *
 * @param maxBytes maximum bytes of the tar itself
 * @throws {@link LayerstackError} ERR_ARCHIVE_TRUNCATED, ERR_ARCHIVE_INVALID, ERR_LIMIT_EXCEEDED,
 *   ERR_DIGEST_MISMATCH, and the errors of the pool. After an error nothing reads the source any more.
 */
export async function readStream(
  sourceName: string,
  source: AsyncIterable<Uint8Array>,
  pool: LayerPool,
  maxBytes: number,
): Promise<Archive> {
  // Accepts archives of old tars without magic too. The option is missing in the package's types.
  const parser = extract({ allowUnknownFormat: true } as object);
  const feed = new TarFeed(sourceName, source, parser, maxBytes);
  const reader = new StreamReader(sourceName, pool, (error) => feed.explain(error));
  const stop = () => parser.destroy(pool.signal.reason as Error);
  pool.signal.addEventListener('abort', stop, { once: true });
  if (pool.signal.aborted) stop();
  try {
    void feed.run();
    for await (const entry of parser) await reader.read(entry);
    await reader.settled();
    // The zero blocks that end an archive follow its last member.
    const ended = feed.bytes >= reader.end + BLOCK;
    return { sourceName, members: reader.members, ended, close: () => Promise.resolve() };
  } catch (error) {
    throw pool.fail(feed.explain(error));
  } finally {
    pool.signal.removeEventListener('abort', stop);
    feed.stop();
  }
}

type Entry = Extract extends AsyncIterable<infer T> ? T : never;

/** Sorts the members of one stream into documents, layers and the rest. */
class StreamReader {
  readonly members = new Members<MemberContent>();
  readonly #sourceName: string;
  readonly #pool: LayerPool;
  readonly #explain: (error: unknown) => unknown;
  readonly #layers: Promise<void>[] = [];
  /** Offset where the last member ends. */
  end = 0;
  #count = 0;
  #documentBytes = 0;

  constructor(sourceName: string, pool: LayerPool, explain: (error: unknown) => unknown) {
    this.#sourceName = sourceName;
    this.#pool = pool;
    this.#explain = explain;
  }

  /** Reads one member to its end. */
  async read(entry: Entry): Promise<void> {
    const { name, type, linkname, size = 0 } = entry.header;
    if (++this.#count > MAX_MEMBERS) throw this.#tooMuch('members', MAX_MEMBERS);
    if (Math.max(name.length, linkname?.length ?? 0) > MAX_NAME)
      throw this.#tooMuch('bytes in a name', MAX_NAME);
    this.end = entry.offset + BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    const stream = new PeekStream(entry as AsyncIterable<Uint8Array>, this.#explain);
    if (type === 'file' || type === 'contiguous-file') {
      this.members.add(name, await this.#content(name, size, stream));
      if (this.#count === ROOT_FS_CHECK && looksLikeRootFs(this.members)) throw rootFsError(this.#sourceName);
    } else if (type === 'symlink' || type === 'link') {
      this.members.addLink(name, type === 'link' ? 'hardlink' : 'symlink', linkname ?? '');
    }
    await stream.drain();
  }

  /** Resolves when every layer that came is staged. */
  async settled(): Promise<void> {
    await Promise.all(this.#layers);
  }

  async #content(name: string, size: number, stream: PeekStream): Promise<MemberContent> {
    const head = await stream.peek(BLOCK);
    if (native.sniffCompression(head) !== 'none' || isTarBlock(head)) return this.#layer(name, size, stream);
    const isDocument = isJsonStart(head) || FORMAT_MEMBERS.includes(cleanName(name));
    if (size === 0 || (size <= MAX_DOCUMENT && isDocument)) return this.#document(name, size, stream);
    const hash = announcedDigest(name) === undefined ? undefined : createHash('sha256');
    await stream.drain((chunk) => hash?.update(chunk));
    if (hash) checkAnnounced(this.#sourceName, name, `sha256:${hash.digest('hex')}`);
    return { size, read: () => Promise.resolve(null) };
  }

  /** Stages a layer. Resolves as soon as its bytes are read, while the layer is still being finished. */
  async #layer(name: string, size: number, stream: PeekStream): Promise<MemberContent> {
    const content: MemberContent = { size, read: () => Promise.resolve(null) };
    const staged = this.#pool.stageSpeculatively({ name, content }, stream, announcedDigest(name));
    // A failure stops the reading through the pool's signal; `settled` reports it.
    staged.catch(() => undefined);
    this.#layers.push(staged);
    await Promise.race([stream.ended, staged]);
    return content;
  }

  async #document(name: string, size: number, stream: PeekStream): Promise<MemberContent> {
    this.#documentBytes += size;
    if (this.#documentBytes > MAX_DOCUMENTS) throw this.#tooMuch('bytes of JSON', MAX_DOCUMENTS);
    const chunks: Uint8Array[] = [];
    await stream.drain((chunk) => chunks.push(chunk));
    const bytes = Buffer.concat(chunks);
    checkAnnounced(this.#sourceName, name, digestOf(bytes));
    return {
      size,
      read: () => Promise.resolve(bytes),
      open: () => Promise.resolve({ source: once(bytes), close: () => Promise.resolve() }),
    };
  }

  #tooMuch(what: string, limit: number): LayerstackError {
    return new LayerstackError(
      'ERR_LIMIT_EXCEEDED',
      `${this.#sourceName}: has more than ${String(limit)} ${what}, which no image archive needs`,
      { path: this.#sourceName, limit },
    );
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}
