import { runInNewContext, runInThisContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import {
  firstError,
  isError,
  isSystemError,
  LayerstackError,
  undefinedIf,
  unlessMissing,
  type ErrorCode,
} from '../../../src/core/errors.ts';

const FOREIGN = `(() => {
  class LayerstackError extends Error {}
  Object.defineProperty(LayerstackError.prototype, Symbol.for('layerstack.error'), { value: true });
  return new LayerstackError('foreign');
})()`;

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

  it.each([
    ['another copy of the package', runInThisContext(FOREIGN), true],
    ['another realm', runInNewContext(FOREIGN), true],
    ['this copy', new LayerstackError('ERR_INTERNAL', 'x'), true],
    ['elsewhere, without the brand', new Error('x'), false],
    ['elsewhere, and is not an error', { [Symbol.for('layerstack.error')]: true }, false],
  ])('is recognised by its brand: one of %s', (_, error: unknown, expected) => {
    expect(LayerstackError.is(error)).toBe(expected);
    expect(error instanceof LayerstackError).toBe(expected);
  });

  it('is an instance of a derived class only if it was made by it', () => {
    class Own extends LayerstackError {}
    expect(new LayerstackError('ERR_INTERNAL', 'x') instanceof Own).toBe(false);
    expect(new Own('ERR_INTERNAL', 'x') instanceof Own).toBe(true);
    expect(LayerstackError.is(new Own('ERR_INTERNAL', 'x'))).toBe(true);
  });
});

it.each([
  ['an Error', new Error('x'), true],
  ['a TypeError of another realm', runInNewContext('new TypeError("x")'), true],
  ['the reason of a signal', AbortSignal.abort().reason as unknown, true],
  ['a text', 'Error: x', false],
  ['an object with a message', { name: 'Error', message: 'x' }, false],
  ['nothing', undefined, false],
])('%s: whether it is an error', (_, value, expected) => {
  expect(isError(value)).toBe(expected);
});

it('a system error is known by errno and code', () => {
  const error = Object.assign(new Error('x'), { errno: -2, code: 'ENOENT', syscall: 'open' });
  expect(isSystemError(error)).toBe(true);
  expect(isSystemError(error, 'EACCES', 'ENOENT')).toBe(true);
  expect(isSystemError(error, 'EACCES')).toBe(false);
  expect(isSystemError(new LayerstackError('ERR_INTERNAL', 'x'))).toBe(false);
});

it('of errors that suppress each other, the first one counts', () => {
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

describe('LayerstackError.is with codes', () => {
  const error = new LayerstackError('ERR_NO_SPACE', 'full');

  it('matches one of them', () => {
    expect(LayerstackError.is(error, 'ERR_NO_SPACE')).toBe(true);
    expect(LayerstackError.is(error, 'ERR_ABORTED', 'ERR_NO_SPACE')).toBe(true);
    expect(LayerstackError.is(error, 'ERR_ABORTED')).toBe(false);
    expect(
      LayerstackError.is(Object.assign(new Error('full'), { code: 'ERR_NO_SPACE' }), 'ERR_NO_SPACE'),
    ).toBe(false);
  });
});

describe('LayerstackError.within', () => {
  it('keeps the code and the facts, except for given ones', () => {
    const cause = new LayerstackError('ERR_LAYER_INVALID', 'bad', { path: 'inner', member: 'a', found: 1 });
    const error = LayerstackError.within(cause, 'x.tar: bad', { path: 'x.tar', layer: 'l' });
    expect(error).toMatchObject({
      ...{ code: 'ERR_LAYER_INVALID', kind: 'invalid', message: 'x.tar: bad', name: 'LayerstackError' },
      ...{ path: 'x.tar', member: 'a', found: 1, layer: 'l' },
    });
    expect(error.cause).toBe(cause);
  });
});

it('undefinedIf turns only errors of these codes into undefined', async () => {
  const failed = (code: ErrorCode): Promise<never> => Promise.reject(new LayerstackError(code, code));
  expect(await undefinedIf(Promise.resolve(1), 'ERR_REGISTRY_DENIED')).toBe(1);
  expect(
    await undefinedIf(failed('ERR_REGISTRY_DENIED'), 'ERR_ABORTED', 'ERR_REGISTRY_DENIED'),
  ).toBeUndefined();
  await expect(undefinedIf(failed('ERR_ABORTED'), 'ERR_REGISTRY_DENIED')).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
});
