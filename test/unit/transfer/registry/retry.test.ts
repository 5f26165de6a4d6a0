import { describe, expect, it } from 'vitest';
import { LayerstackError } from '../../../../src/core/errors.ts';
import { DEFAULT_RETRY, parseRetryAfter, pauseBefore } from '../../../../src/transfer/registry/retry.ts';

const failure = (facts: object = {}) =>
  new LayerstackError('ERR_REGISTRY_UNAVAILABLE', 'x', { retryable: true, ...facts });

describe('Retry-After', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  it.each([
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7000],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['-1', undefined],
    ['1.5', undefined],
    ['99999999999999999999', undefined],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s', (text, ms) => {
    expect(parseRetryAfter(text, now)).toBe(ms);
  });
});

describe('pauses', () => {
  it('double, and vary', () => {
    for (let attempt = 1; attempt < DEFAULT_RETRY.attempts; attempt++) {
      const full = DEFAULT_RETRY.pauseMs * 2 ** (attempt - 1);
      const waits = Array.from({ length: 50 }, () => pauseBefore(failure(), attempt, DEFAULT_RETRY) ?? -1);
      expect(Math.min(...waits)).toBeGreaterThanOrEqual(full / 2);
      expect(Math.max(...waits)).toBeLessThanOrEqual(full);
      expect(new Set(waits).size).toBeGreaterThan(1);
    }
  });

  it('are bounded however many attempts there are', () => {
    const wait = pauseBefore(failure(), 900, { ...DEFAULT_RETRY, attempts: 1000 });
    expect(wait).toBeLessThanOrEqual(30 * DEFAULT_RETRY.pauseMs);
  });

  it('end with the last attempt', () => {
    expect(pauseBefore(failure(), DEFAULT_RETRY.attempts, DEFAULT_RETRY)).toBeUndefined();
  });

  it('are as long as the registry asks for, unless that is too long', () => {
    expect(pauseBefore(failure({ retryAfterMs: 0 }), 1, DEFAULT_RETRY)).toBe(0);
    expect(pauseBefore(failure({ retryAfterMs: 60_000 }), 1, DEFAULT_RETRY)).toBe(60_000);
    expect(pauseBefore(failure({ retryAfterMs: 60_001 }), 1, DEFAULT_RETRY)).toBeUndefined();
  });

  it('come only after temporary errors', () => {
    expect(pauseBefore(failure({ retryable: false }), 1, DEFAULT_RETRY)).toBeUndefined();
    expect(pauseBefore(new LayerstackError('ERR_REGISTRY_DENIED', 'x'), 1, DEFAULT_RETRY)).toBeUndefined();
    expect(pauseBefore(new Error('a bug'), 1, DEFAULT_RETRY)).toBeUndefined();
  });

  it('come once only after a time limit', () => {
    const cause = Object.assign(new Error('x'), { name: 'HeadersTimeoutError' });
    expect(pauseBefore(failure({ cause }), 1, DEFAULT_RETRY)).toBeDefined();
    expect(pauseBefore(failure({ cause }), 2, DEFAULT_RETRY)).toBeUndefined();
  });
});
