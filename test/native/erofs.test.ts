import { execFileSync } from 'node:child_process';
import { beforeAll } from 'vitest';
import { nativeTests } from './cases.ts';

beforeAll(() => {
  try {
    execFileSync('modprobe', ['-q', 'erofs']);
  } catch {
    // built in, or the mount says so
  }
});

nativeTests('erofs_test');
