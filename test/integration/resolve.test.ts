import { expect, test } from 'vitest';
import { native } from '../../src/system/native.ts';
import { resolveSuite } from '../support/resolve-suite.ts';
import { scratch } from '../support/overlay.ts';

test('this kernel has openat2', async () => {
  expect((await native.probe(scratch())).openat2).toBe(true);
});

resolveSuite();
