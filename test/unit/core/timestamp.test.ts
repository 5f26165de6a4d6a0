import { describe, expect, it } from 'vitest';
import { parseTimestamp } from '../../../src/core/timestamp.ts';

const now = new Date('2024-05-10T12:00:00.500Z');
const text = (given: string): string => parseTimestamp('until', given, now).text;

describe('a point in time', () => {
  it.each([
    ['10m', '2024-05-10T11:50:00.5Z'],
    ['1h30m', '2024-05-10T10:30:00.5Z'],
    ['1.5h', '2024-05-10T10:30:00.5Z'],
    ['500ms', '2024-05-10T12:00:00Z'],
    ['24h', '2024-05-09T12:00:00.5Z'],
    ['-24h', '2024-05-11T12:00:00.5Z'],
    ['+10m', '2024-05-10T11:50:00.5Z'],
    ['2024-05-01T10:00:00Z', '2024-05-01T10:00:00Z'],
    ['2024-05-01T10:00:00.123456789+02:00', '2024-05-01T10:00:00.123456789+02:00'],
    ['2024-05-01Z', '2024-05-01T00:00:00Z'],
    ['2024-05-01T10Z', '2024-05-01T10:00:00Z'],
    ['2024-05-01T10:11Z', '2024-05-01T10:11:00Z'],
    ['0', '1970-01-01T00:00:00Z'],
    ['10', '1970-01-01T00:00:10Z'],
    ['1714557600.5', '2024-05-01T10:00:00.5Z'],
  ])('%s', (given, expected) => {
    expect(text(given)).toBe(expected);
  });

  it('without a zone is local', () => {
    expect(Date.parse(text('2024-05-01T10:00:00'))).toBe(new Date(2024, 4, 1, 10).getTime());
    expect(Date.parse(text('2024-05-01'))).toBe(new Date(2024, 4, 1).getTime());
  });

  it.each(
    [
      '',
      'yesterday',
      '10x',
      '1h-',
      '2024-13-01',
      '2024-05-01T25:00:00Z',
      'h',
      '-1',
      '-',
      '1e3',
      '0x10',
    ].concat([
      ...['2024-02-30', '2024-04-31Z', '2024-05-01T24:00:00', '2024-05-01T', '10 m', '1h 30m', ' 10', '--1h'],
    ]),
  )('%s is none', (given) => {
    expect(() => text(given)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }));
  });
});
