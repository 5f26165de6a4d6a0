import { expect, it } from 'vitest';
import { pause, throwIfAborted } from '../../../src/core/abort.ts';
import { rejection } from '../../support/errors.ts';

it('throws only after the signal has fired, with its reason as cause', () => {
  const controller = new AbortController();
  throwIfAborted(undefined);
  throwIfAborted(controller.signal);
  const reason = new Error('enough');
  controller.abort(reason);
  expect(() => {
    throwIfAborted(controller.signal);
  }).toThrow(expect.objectContaining({ code: 'ERR_ABORTED', kind: 'aborted', cause: reason }));
});

it('a pause ends when the signal fires', async () => {
  await pause(1);
  const error = await rejection(pause(60_000, AbortSignal.timeout(10)));
  expect(error).toMatchObject({ code: 'ERR_ABORTED', cause: { name: 'TimeoutError' } });
});
