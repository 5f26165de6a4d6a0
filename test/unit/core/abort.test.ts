import { expect, it } from 'vitest';
import { throwIfAborted } from '../../../src/core/abort.ts';

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
