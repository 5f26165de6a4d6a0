import { expect, test } from 'vitest';

// Before the addon is loaded by an import.
process.env['LAYERSTACK_CAPS'] = 'openat2=no';
const { native } = await import('../../src/system/native.ts');
const { resolveSuite } = await import('../support/resolve-suite.ts');
const { scratch } = await import('../support/overlay.ts');

test('openat2 is not used', async () => {
  expect((await native.probe(scratch())).openat2).toBe(false);
});

resolveSuite();
