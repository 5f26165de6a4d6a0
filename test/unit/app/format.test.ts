import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/app/cli/command.ts';
import {
  ellipsis,
  formatAge,
  formatBytes,
  formatDuration,
  formatId,
  formatTime,
  parseBytes,
} from '../../../src/app/cli/format.ts';
import { formatTable, parseFormat } from '../../../src/app/cli/output.ts';

// The expected texts are what docker's client prints for these numbers.
describe('formatBytes', () => {
  it.each([
    [0, '0B'],
    [999, '999B'],
    [1000, '1kB'],
    [1234, '1.23kB'],
    [1_982_283, '1.98MB'],
    [77_800_000, '77.8MB'],
    [124_000_000, '124MB'],
    [1_050_000_000, '1.05GB'],
    [999_900, '1e+03kB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe('formatDuration', () => {
  const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];
  it.each([
    [0, 'Less than a second'],
    [second, '1 second'],
    [59 * second, '59 seconds'],
    [minute, 'About a minute'],
    [2 * minute, '2 minutes'],
    [59 * minute, '59 minutes'],
    [hour, 'About an hour'],
    [1.6 * hour, '2 hours'],
    [47 * hour, '47 hours'],
    [2 * day, '2 days'],
    [13 * day, '13 days'],
    [14 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [60 * day, '2 months'],
    [729 * day, '24 months'],
    [730 * day, '2 years'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it('is N/A without a time', () => {
    expect(formatAge(undefined)).toBe('N/A');
    expect(formatAge(Number.NaN)).toBe('N/A');
    expect(formatAge(0, 10 * day)).toBe('10 days ago');
  });
});

describe('parseBytes', () => {
  it.each([
    ['4096', 4096],
    ['1k', 1024],
    ['512M', 512 * 1024 ** 2],
    ['10G', 10 * 1024 ** 3],
    ['1.5GiB', 1.5 * 1024 ** 3],
    ['2tb', 2 * 1024 ** 4],
  ])('%s is %d', (text, bytes) => {
    expect(parseBytes('--max-bytes', text)).toBe(bytes);
  });

  it.each(['', '0', '-1', '10 X', 'G', '1e9', '99999999P'])('refuses %j as misuse', (text) => {
    expect(() => parseBytes('--max-bytes', text)).toThrow(UsageError);
  });
});

describe('formatTable', () => {
  it("pads as docker's client does", () => {
    expect(formatTable(['CONTAINER ID', 'IMAGE', 'NAMES'], [['792402d67661', 'bb:1', 'bar']])).toEqual([
      'CONTAINER ID   IMAGE     NAMES',
      '792402d67661   bb:1      bar',
    ]);
  });

  it('prints only the header for an empty list', () => {
    expect(formatTable(['REPOSITORY', 'TAG', 'SIZE'], [])).toEqual(['REPOSITORY   TAG       SIZE']);
  });
});

describe('the rest', () => {
  it('formats ids, times and long texts', () => {
    expect(formatId(`sha256:${'ab'.repeat(32)}`, true)).toBe('abababababab');
    expect(formatId('sha256:ab', false)).toBe('sha256:ab');
    expect(formatTime(Date.UTC(2023, 4, 1, 12))).toBe('2023-05-01 12:00:00 +0000 UTC');
    expect(ellipsis('/bin/sh -c id; env; echo', 20)).toBe('/bin/sh -c id; env;…');
    expect(ellipsis('short', 20)).toBe('short');
  });

  it('parses the output forms, and refuses templates as misuse', () => {
    expect(parseFormat(undefined)).toBe('table');
    expect(parseFormat('json')).toBe('json');
    expect(() => parseFormat('{{.ID}}')).toThrow(UsageError);
  });
});
