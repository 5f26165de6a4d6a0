import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

it('erofs_test passes under the sanitizers', async () => {
  execFileSync('modprobe', ['-q', 'erofs']);
  const { output, passed } = await runNativeTest('erofs_test');
  expect(passed, output).toBe(true);
  expect(output).toContain(', 0 failed');
});
