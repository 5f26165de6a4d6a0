import { describe, expect, it } from 'vitest';
import { digestOf, type DiffID, type Digest } from '../../../src/core/digest.ts';
import { LayerstackError, type ErrorCode } from '../../../src/core/errors.ts';
import type { LayerSource, StagedLayer, StageOptions } from '../../../src/layer/store.ts';
import type { FoundMember } from '../../../src/transfer/archive/archive.ts';
import { LayerPool } from '../../../src/transfer/ingest/layer-pool.ts';

/** A store that stages by counting bytes; content that begins with an error code fails with it. */
class FakeLayers {
  staged = 0;
  restaged = 0;
  readonly kept = new Set<StagedLayer>();

  async stage(source: LayerSource, { signal }: StageOptions): Promise<StagedLayer> {
    const chunks: Uint8Array[] = [];
    if (!(Symbol.asyncIterator in source)) throw new Error('only streams here');
    for await (const chunk of source) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const code = /^ERR_\w+/.exec(bytes.toString())?.[0];
    if (code !== undefined) throw new LayerstackError(code as ErrorCode, 'as told');
    if (signal?.aborted) throw new LayerstackError('ERR_ABORTED', 'stopped');
    return this.#layer(`${String(this.staged++)}`, digestOf(bytes), bytes.length);
  }

  restage(layer: StagedLayer): Promise<StagedLayer> {
    this.restaged++;
    return Promise.resolve(this.#layer(`again-${layer.cacheId}`, layer.diffId, layer.applied.tarSize));
  }

  discard(layer: StagedLayer): Promise<void> {
    this.kept.delete(layer);
    return Promise.resolve();
  }

  #layer(cacheId: string, digest: Digest, size: number): StagedLayer {
    const applied = {
      ...{ diffId: digest, blobDigest: digest, blobSize: size, tarSize: size, compression: 'none' as const },
      holeBytes: 0,
      ...{ entries: 0, contentSize: 0, warnings: [], warningCount: 0 },
    };
    const layer: StagedLayer = { cacheId, writeSet: cacheId, diffId: digest as DiffID, applied };
    this.kept.add(layer);
    return layer;
  }
}

async function* stream(text: string): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}

function past(name: string, text: string): FoundMember {
  return { name, content: { size: text.length, read: () => Promise.resolve(null) } };
}

function reopenable(name: string, text: string): FoundMember {
  const open = () => Promise.resolve({ source: stream(text), close: () => Promise.resolve() });
  return { name, content: { ...past(name, text).content, open } };
}

function poolOf(layers: FakeLayers, maxBytes = 1000, signal?: AbortSignal): LayerPool {
  return new LayerPool(layers, {
    sourceName: 'x.tar',
    hint: 'save it again',
    maxBytes,
    signal,
    log: { warn: () => undefined },
  });
}

describe('layers of one load', () => {
  it('staged ahead are taken once, and copied after that', async () => {
    const layers = new FakeLayers();
    const pool = poolOf(layers);
    const member = past('a', 'tar');
    await pool.stageSpeculatively(member, stream('tar'));
    const expected = { diffId: digestOf('tar') as DiffID };
    const taken = await Promise.all([pool.take(member, expected), pool.take(member, expected)]);
    expect(new Set(taken).size).toBe(2);
    expect(layers).toMatchObject({ staged: 1, restaged: 1 });
    pool.published(taken);
    await pool.close();
    expect([...layers.kept]).toEqual(taken);
  });

  it('from a source that can be read again are not copied', async () => {
    const layers = new FakeLayers();
    const pool = poolOf(layers);
    const member = reopenable('a', 'tar');
    await pool.peek(member);
    await Promise.all([pool.take(member, {}), pool.take(member, {})]);
    expect(layers).toMatchObject({ staged: 2, restaged: 0 });
    await pool.close();
    expect(layers.kept.size).toBe(0);
  });

  it('that are not taken are discarded, even if they are not layers', async () => {
    const layers = new FakeLayers();
    const pool = poolOf(layers);
    await pool.stageSpeculatively(past('a', ''), stream('unused'));
    await pool.stageSpeculatively(past('b', ''), stream('ERR_LAYER_INVALID'));
    expect(pool.signal.aborted).toBe(false);
    await pool.close();
    expect(layers.kept.size).toBe(0);
  });

  it('that are not layers are an error for their taker', async () => {
    const layers = new FakeLayers();
    const pool = poolOf(layers);
    const member = past('a', '');
    await pool.stageSpeculatively(member, stream('ERR_LAYER_TRUNCATED'));
    await expect(pool.take(member, {})).rejects.toMatchObject({
      code: 'ERR_LAYER_TRUNCATED',
      layer: 'a',
      path: 'x.tar',
    });
    await expect(pool.take(past('b', ''), {})).rejects.toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
  });

  it('with an error that concerns every source stop everything', async () => {
    for (const code of ['ERR_NO_SPACE', 'ERR_LIMIT_EXCEEDED']) {
      const pool = poolOf(new FakeLayers());
      await expect(pool.stageSpeculatively(past('a', ''), stream(code))).rejects.toMatchObject({ code });
      expect(pool.signal.aborted).toBe(true);
    }
    const pool = poolOf(new FakeLayers());
    await expect(pool.stageSpeculatively(past('a', ''), stream('x'), digestOf('y'))).rejects.toMatchObject({
      code: 'ERR_DIGEST_MISMATCH',
      found: digestOf('x'),
    });
  });

  it('must be what was expected', async () => {
    for (const expected of [
      { diffId: digestOf('other') as DiffID },
      { blob: { mediaType: '', digest: digestOf('other'), size: 3 } },
      { blob: { mediaType: '', digest: digestOf('tar'), size: 4 } },
    ]) {
      const pool = poolOf(new FakeLayers());
      await expect(pool.take(reopenable('a', 'tar'), expected)).rejects.toMatchObject({
        code: 'ERR_DIGEST_MISMATCH',
        layer: 'a',
      });
    }
  });

  it('have a bound together', async () => {
    const layers = new FakeLayers();
    const pool = poolOf(layers, 5);
    await pool.take(reopenable('a', 'tar'), {});
    await expect(pool.take(reopenable('b', 'tar'), {})).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
      limit: 5,
    });
    await pool.close();
    expect(layers.kept.size).toBe(0);
  });

  it("fail with the caller's reason when the caller stopped them", async () => {
    const abort = new AbortController();
    const pool = poolOf(new FakeLayers(), 1000, abort.signal);
    abort.abort('why');
    await expect(pool.take(reopenable('a', 'tar'), {})).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      cause: 'why',
    });
  });
});
