import { describe, expect, it } from 'vitest';
import {
  chainIds,
  digestOf,
  digestOfHex,
  EMPTY_LAYER_DIFF_ID,
  hexOf,
  isDigest,
  isHex64,
  parseDigest,
  topChainId,
  type DiffID,
} from '../../../src/core/digest.ts';

const A = 'sha256:ab8486bd3b094099b0e8da07035b4f4d889e39eba83c674d320ba5372b39ca0b' as DiffID;
const B = 'sha256:8a62a82ebf36990a1f56ea8b5844038343c7d69bdc03384534762ee32c9beaba' as DiffID;

describe('digests', () => {
  it('are sha256 and 64 lower-case hex digits', () => {
    expect(parseDigest(A)).toBe(A);
    for (const bad of [
      '',
      A.slice(7),
      A.toUpperCase(),
      `${A}0`,
      A.slice(0, -1),
      A.replace('sha256', 'sha512'),
      `${A}\n`,
    ]) {
      expect(isDigest(bad), bad).toBe(false);
      expect(() => parseDigest(bad)).toThrow(expect.objectContaining({ code: 'ERR_DIGEST_INVALID' }));
    }
  });

  it('do not quote a very long text in the error', () => {
    expect(() => parseDigest('x'.repeat(1e6))).toThrow(/^.{100,300}$/);
  });

  it('are of bytes and of UTF-8 text', () => {
    const empty = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(digestOf('')).toBe(empty);
    expect(digestOf(new Uint8Array())).toBe(empty);
    expect(digestOf('ü')).toBe(digestOf(Buffer.from('ü')));
    expect(hexOf(digestOf(''))).toBe(empty.slice(7));
  });

  it('are made from their hex digits', () => {
    const hex = hexOf(digestOf(''));
    expect(digestOfHex(hex)).toBe(digestOf(''));
    expect(isHex64(hex)).toBe(true);
    for (const other of [digestOf(''), hex.toUpperCase(), hex.slice(1), `${hex}0`, `${hex}\n`])
      expect(isHex64(other)).toBe(false);
  });

  it('include that of the empty layer', () => {
    expect(digestOf(new Uint8Array(1024))).toBe(EMPTY_LAYER_DIFF_ID);
  });
});

describe('chain ids', () => {
  it('reproduce what dockerd computed', () => {
    expect(chainIds([A, B])).toEqual([
      A,
      'sha256:7516fc20f4b9eaaad8fb9b4a9162d113eeaf952dff5f25a000741d48857644b5',
    ]);
  });

  it('of no layers are none', () => {
    expect(chainIds([])).toEqual([]);
    expect(topChainId([])).toBeUndefined();
    expect(topChainId([A])).toBe(A);
  });
});
