/** The stream around a layer: where it ends, how it is compressed, who feeds it, and how it is stopped. */
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { call, native } from '../../src/system/native.ts';
import { apply, applyPushed, LIMITS, noise, refused, scratchDirectory, sha256 } from '../support/applied.ts';
import { tar } from '../support/tar.ts';

const file = { name: 'f', content: 'x'.repeat(700) };

describe('the end of a tar', () => {
  it('may be missing, or be followed by garbage', async () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(512),
      Buffer.alloc(1024),
      Buffer.alloc(10240),
      tar([file], { endBlocks: 0 }),
      tar([file], { endBlocks: 1 }),
      tar([{ ...file, unpadded: true }], { endBlocks: 0 }),
      Buffer.concat([tar([{ ...file, unpadded: true }], { endBlocks: 0 }), Buffer.alloc(100)]),
      tar([file], { trailing: Buffer.from('garbage') }),
      tar([file], { trailing: noise(3_000_000) }),
    ])
      expect((await apply(bytes)).diffId, String(bytes.length)).toBe(sha256(bytes));
  });

  it('a zero block in the middle is an error', async () => {
    const bytes = Buffer.concat([tar([file], { endBlocks: 1 }), tar([{ name: 'g' }])]);
    expect((await refused(bytes)).code).toBe('ERR_LAYER_INVALID');
  });

  it('within a header or a content is an error that names the place', async () => {
    const bytes = tar([
      { name: 'first', content: 'x' },
      { ...file, xattrs: { 'user.a': 'b' } },
    ]);
    for (const length of [100, 511, 1024 + 100, 1024 + 512 + 10, 1024 + 1536 + 699])
      expect((await refused(bytes.subarray(0, length))).code, String(length)).toBe('ERR_LAYER_TRUNCATED');
    expect(await refused(bytes.subarray(0, 1024 + 1536 + 699))).toMatchObject({ member: 'f' });
    expect((await refused(Buffer.concat([tar([file], { endBlocks: 1 }), Buffer.alloc(10)]))).code).toBe(
      'ERR_LAYER_TRUNCATED',
    );
  });
});

describe('compression', () => {
  const bytes = tar([{ name: 'big', content: noise(3_000_000) }, file]);

  it('gzip is recognised, and both digests are taken', async () => {
    const blob = gzipSync(bytes);
    const applied = await apply(blob);
    expect(applied).toMatchObject({
      compression: 'gzip',
      diffId: sha256(bytes),
      blobDigest: sha256(blob),
      blobSize: blob.length,
      tarSize: bytes.length,
    });
    const plain = await apply(bytes);
    expect(plain).toMatchObject({ compression: 'none', blobDigest: plain.diffId, blobSize: bytes.length });
  });

  it('gzip that is cut, damaged or followed by garbage is refused', async () => {
    const blob = gzipSync(bytes);
    expect((await refused(blob.subarray(0, blob.length - 5))).code).toBe('ERR_LAYER_TRUNCATED');
    expect((await refused(blob.subarray(0, 8))).code).toBe('ERR_LAYER_TRUNCATED');
    const damaged = Buffer.from(blob);
    damaged[blob.length - 6] = (damaged[blob.length - 6] ?? 0) ^ 1;
    expect((await refused(damaged)).code).toBe('ERR_LAYER_INVALID');
    expect((await refused(Buffer.concat([blob, Buffer.from('garbage')]))).code).toBe('ERR_LAYER_INVALID');
  });

  it('gzip bomb: 1 GB of zeros in 1 MB stops at maxBytes', async () => {
    const member = gzipSync(Buffer.alloc(16 << 20));
    const bomb = Buffer.concat(Array.from({ length: 64 }, () => member));
    expect((await refused(bomb, { maxBytes: 50 << 20 })).code).toBe('ERR_LIMIT_EXCEEDED');
  });

  it('bzip2 and xz are refused with a way out', async () => {
    expect(await refused(Buffer.from('BZh91AY&SY...'))).toMatchObject({
      code: 'ERR_COMPRESSION_UNSUPPORTED',
      message: expect.stringContaining('bzip2 -d') as string,
    });
    expect((await refused(Buffer.from('\xfd7zXZ\0\0\0', 'latin1'))).message).toContain('xz -d');
  });
});

describe('pushed bytes', () => {
  const bytes = tar([{ name: 'big', content: noise(5_000_000) }, file]);

  it('make the same layer, however they are cut', async () => {
    for (const piece of [bytes.length, 1 << 20, 65_536, 10_007])
      expect((await applyPushed(bytes, piece)).diffId).toBe(sha256(bytes));
    const small = tar([file]);
    expect((await applyPushed(small, 1)).diffId).toBe(sha256(small));
    expect((await applyPushed(gzipSync(small), 1)).diffId).toBe(sha256(small));
    expect((await applyPushed(Buffer.alloc(0), 1)).tarSize).toBe(0);
  });

  it('are taken at the speed of extraction: a writer waits', async () => {
    const { diff, tarSplit } = scratch();
    const job = new native.LayerApply({ diff, tarSplit, limits: LIMITS });
    const big = tar([{ name: 'zeros', content: Buffer.alloc(100 << 20) }]);
    let settled = 0;
    const writes: Promise<void>[] = [];
    for (let at = 0; at < big.length; at += 1 << 20)
      writes.push(job.write(big.subarray(at, at + (1 << 20))).then(() => void settled++));
    await Promise.resolve();
    expect(settled).toBeLessThan(10);
    job.end();
    await Promise.all(writes);
    expect((await job.result).diffId).toBe(sha256(big));
    await expect(job.write(Buffer.from('x'))).rejects.toThrow('takes no more bytes');
  });

  it('a failure rejects the result and every write that waits', async () => {
    const { diff, tarSplit } = scratch();
    const job = new native.LayerApply({ diff, tarSplit, limits: LIMITS });
    const result = expect(call(job.result)).rejects.toMatchObject({ code: 'ERR_LAYER_ESCAPE' });
    await job.write(tar([{ name: '../x' }], { endBlocks: 0 }));
    await result;
    await expect(job.write(Buffer.alloc(10))).rejects.toMatchObject({ code: 'ERR_LAYER_ESCAPE' });
  });
});

function scratch(): { home: string; diff: string; tarSplit: string } {
  const home = scratchDirectory();
  mkdirSync(join(home, 'diff'));
  return { home, diff: join(home, 'diff'), tarSplit: join(home, 'split') };
}

const openFds = () => readdirSync('/proc/self/fd').length;
const threads = () => readdirSync('/proc/self/task').length;

describe('abort', () => {
  it('settles at once, waiting for input or in the middle of it, and leaves no thread or fd', async () => {
    const { home, diff, tarSplit } = scratch();
    await native.batch(home, []); // so that the shared pool has its threads
    const before = [openFds(), threads()];
    const pushed = new native.LayerApply({ diff, tarSplit, limits: LIMITS });
    await pushed.write(tar([file], { endBlocks: 0 }));
    let start = performance.now();
    pushed.abort();
    await expect(call(pushed.result)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(performance.now() - start).toBeLessThan(1000);
    pushed.abort();

    const path = join(home, 'big.tar');
    writeFileSync(
      path,
      tar(Array.from({ length: 40 }, (_, i) => ({ name: `f${i}`, content: Buffer.alloc(4 << 20, i) }))),
    );
    const fd = openSync(path, 'r');
    mkdirSync(join(home, 'second'));
    const running = new native.LayerApply({
      diff: join(home, 'second'),
      tarSplit: join(home, 'split2'),
      source: { fd, offset: 0, size: 40 * ((4 << 20) + 512) + 1024 },
      limits: LIMITS,
    });
    closeSync(fd); // the job has a copy
    await new Promise((resolve) => setTimeout(resolve, 10));
    start = performance.now();
    running.abort();
    await expect(call(running.result)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(performance.now() - start).toBeLessThan(1000);
    await expect.poll(() => [openFds(), threads()]).toEqual(before);
  });

  it('a job that is dropped without `end` gives up by itself', async () => {
    const { diff, tarSplit } = scratch();
    const result = new native.LayerApply({ diff, tarSplit, limits: LIMITS }).result;
    const outcome = expect(call(result)).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
    await outcome;
  });
});

describe('sources', () => {
  it('a range that goes beyond the file is a truncated layer', async () => {
    const { home, diff, tarSplit } = scratch();
    const bytes = tar([file]);
    writeFileSync(join(home, 'l.tar'), Buffer.concat([Buffer.from('before'), bytes]));
    const fd = openSync(join(home, 'l.tar'), 'r');
    const options = { diff, tarSplit, limits: LIMITS };
    const long = new native.LayerApply({ ...options, source: { fd, offset: 6, size: bytes.length + 1 } });
    await expect(call(long.result)).rejects.toMatchObject({ code: 'ERR_LAYER_TRUNCATED' });
    closeSync(fd);
  });

  it('a directory or tar-split that cannot be used is a system error', async () => {
    const { diff, tarSplit } = scratch();
    writeFileSync(tarSplit, '');
    const taken = new native.LayerApply({ diff, tarSplit, limits: LIMITS });
    await expect(call(taken.result)).rejects.toMatchObject({ code: 'EEXIST', path: tarSplit });
    const missing = new native.LayerApply({ diff: `${diff}/no`, tarSplit: `${tarSplit}2`, limits: LIMITS });
    await expect(call(missing.result)).rejects.toMatchObject({ code: 'ENOENT', path: `${diff}/no` });
  });
});
