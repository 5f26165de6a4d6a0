import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

it('erofs_test passes under the sanitizers', async () => {
  try {
    execFileSync('modprobe', ['-q', 'erofs']);
  } catch {
    // built in, or the mount says so
  }
  const { output, passed } = await runNativeTest('erofs_test');
  expect(passed, output).toBe(true);
  expect(output).toContain(', 0 failed');
});
