import { expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

for (const program of ['codec_test', 'tar_split_test']) {
  it(`${program} passes under the sanitizers`, async () => {
    const { output, passed } = await runNativeTest(program);
    expect(passed, output).toBe(true);
    expect(output).toContain(', 0 failed');
  });
}
