import { expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

it('compress_test passes under the sanitizers', async () => {
  const { output, passed } = await runNativeTest('compress_test');
  expect(passed, output).toBe(true);
  expect(output).toContain(', 0 failed');
});
