import { describe, expect, it } from 'vitest';
import { firstError, isSystemError, LayerstackError, unlessMissing } from '../../../src/core/errors.ts';

describe('a LayerstackError', () => {
  it('has its code, kind and facts as own properties, without those that are not given', () => {
    const cause = new Error('below');
    const error = new LayerstackError('ERR_IMAGE_NOT_FOUND', 'no such image', {
      id: 'x',
      path: undefined,
      cause,
    });
    expect(error).toMatchObject({ code: 'ERR_IMAGE_NOT_FOUND', kind: 'not-found', id: 'x', cause });
    expect(Object.keys(error)).not.toContain('path');
  });

  it('is recognised across copies of the package', () => {
    const foreign = Object.assign(new Error('from another copy'), { [Symbol.for('layerstack.error')]: true });
    expect(LayerstackError.is(foreign)).toBe(true);
    expect(LayerstackError.is(new LayerstackError('ERR_INTERNAL', 'x'))).toBe(true);
    expect(LayerstackError.is(new Error('x'))).toBe(false);
    expect(LayerstackError.is({ code: 'ERR_INTERNAL' })).toBe(false);
  });
});

it('a system error is known by errno and code', () => {
  const error = Object.assign(new Error('x'), { errno: -2, code: 'ENOENT', syscall: 'open' });
  expect(isSystemError(error)).toBe(true);
  expect(isSystemError(error, 'EACCES', 'ENOENT')).toBe(true);
  expect(isSystemError(error, 'EACCES')).toBe(false);
  expect(isSystemError(new LayerstackError('ERR_INTERNAL', 'x'))).toBe(false);
});

it('of errors that suppress each other the first one counts', () => {
  const first = new LayerstackError('ERR_NO_SPACE', 'full');
  const suppressed = (error: Error, by: Error): Error =>
    Object.assign(new Error('suppressed'), { name: 'SuppressedError', error: by, suppressed: error });
  expect(firstError(first)).toBe(first);
  expect(firstError(suppressed(first, new Error('second')))).toBe(first);
  expect(firstError(suppressed(suppressed(first, new Error('second')), new Error('third')))).toBe(first);
});

it('only a missing file counts as missing', async () => {
  const failed = (code: string): Promise<never> =>
    Promise.reject(Object.assign(new Error(code), { errno: -1, code }));
  expect(await unlessMissing(Promise.resolve(1))).toBe(1);
  expect(await unlessMissing(failed('ENOENT'))).toBeUndefined();
  await expect(unlessMissing(failed('EACCES'))).rejects.toMatchObject({ code: 'EACCES' });
});
