import { describe, expect, it } from 'vitest';
import { localTime, parseTime, ZERO_TIME } from '../../../src/core/time.ts';

describe('times', () => {
  it.each([
    ['2021-03-04T05:06:07Z', '2021-03-04T05:06:07Z'],
    ['2021-03-04T05:06:07.120000000Z', '2021-03-04T05:06:07.12Z'],
    ['2021-03-04T05:06:07.000Z', '2021-03-04T05:06:07Z'],
    ['2021-03-04T05:06:07.1234567899Z', '2021-03-04T05:06:07.123456789Z'],
    ['2021-03-04T05:06:07+00:00', '2021-03-04T05:06:07Z'],
    ['2021-03-04T05:06:07.5-07:30', '2021-03-04T05:06:07.5-07:30'],
    ['0001-01-01T00:00:00Z', ZERO_TIME],
  ])('%s is written %s', (text, written) => {
    expect(parseTime(text)?.text).toBe(written);
  });

  it.each([
    ['1970-01-01T00:00:00Z', 0],
    ['1970-01-01T00:00:00.9Z', 0],
    ['1969-12-31T23:59:59.5Z', -1],
    ['2021-03-04T05:06:07+01:30', 1614828967],
    [ZERO_TIME, -62135596800],
    ['9999-12-31T23:59:59Z', 253402300799],
  ])('%s is %d', (text, unix) => {
    expect(parseTime(text)?.unix).toBe(unix);
  });

  it.each([
    '',
    'yesterday',
    '2021-03-04',
    '2021-03-04 05:06:07Z',
    '2021-03-04T05:06:07',
    '2021-13-04T05:06:07Z',
    '2021-02-29T05:06:07Z',
    '2021-03-04T24:06:07Z',
    '2021-03-04T05:06:60Z',
    '2021-03-04T05:06:07+99:00',
  ])('%j is none', (text) => {
    expect(parseTime(text)).toBeUndefined();
  });

  it('of the present are written with the local offset, and parse back', () => {
    const date = new Date(Date.UTC(2024, 1, 29, 12, 30, 15, 120));
    const text = localTime(date);
    expect(text).toMatch(/^2024-0[23]-\d\dT\d\d:\d\d:15\.12(Z|[+-]\d\d:\d\d)$/);
    expect(parseTime(text)).toEqual({ text, unix: Math.floor(date.getTime() / 1000) });
  });
});
