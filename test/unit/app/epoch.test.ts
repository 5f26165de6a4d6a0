import { expect, test } from 'vitest';
import { UsageError } from '../../../src/app/cli/command.ts';
import { sourceDateEpoch } from '../../../src/app/cli/epoch.ts';

test('SOURCE_DATE_EPOCH is a number of seconds, or nothing', () => {
  expect(sourceDateEpoch({})).toBeUndefined();
  expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: '' })).toBeUndefined();
  expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: '1700000000' })).toBe(1_700_000_000);
  for (const text of ['now', '-1', '1.5', '99999999999999'])
    expect(() => sourceDateEpoch({ SOURCE_DATE_EPOCH: text })).toThrow(UsageError);
});
