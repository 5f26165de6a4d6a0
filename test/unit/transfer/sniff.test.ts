import { describe, expect, it } from 'vitest';
import { describeStart, isJsonStart, isTarBlock } from '../../../src/transfer/archive/sniff.ts';
import { tar } from '../../support/tar.ts';

describe('what bytes are', () => {
  it('a tar, by its checksum or by zeros', () => {
    for (const format of ['ustar', 'gnu', 'v7'] as const)
      expect(isTarBlock(tar([{ name: 'x', format }]))).toBe(true);
    expect(isTarBlock(Buffer.alloc(512))).toBe(true);
    expect(isTarBlock(Buffer.alloc(511))).toBe(false);
    expect(isTarBlock(tar([{ name: 'x', checksum: 1 }]))).toBe(false);
    expect(isTarBlock(Buffer.alloc(512, ' '))).toBe(false);
    expect(isTarBlock(Buffer.from('{"a":1}'.padEnd(600)))).toBe(false);
  });

  it('JSON, after any white space', () => {
    expect(['{', ' \n\t[1]', '{"a":1}'].map((text) => isJsonStart(Buffer.from(text)))).toEqual([
      true,
      true,
      true,
    ]);
    expect(['', 'x{', '"a"', '1.0'].map((text) => isJsonStart(Buffer.from(text)))).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  it('in words', () => {
    expect(describeStart(Buffer.from('PK\x03\x04zip'))).toBe('a zip archive');
    expect(describeStart(Buffer.alloc(0))).toBe('empty');
    expect(describeStart(Buffer.from('hello'))).toBe('text that begins with "hello"');
    expect(describeStart(Buffer.from([1, 2, 3]))).toBe('a file of unknown format');
  });
});
