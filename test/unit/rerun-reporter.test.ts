import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { rerunCommand } from '../support/rerun-reporter.ts';

const place = { project: 'unit', file: 'test/unit/a.test.ts' };

/** Returns the words that a shell makes of a command. */
const words = (command: string): string[] =>
  execFileSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' })
    .trimEnd()
    .split('\n');

describe('the command that reruns a test', () => {
  it('names project, file and test', () => {
    expect(rerunCommand({ ...place, names: ['a suite', 'does it'] })).toBe(
      "npx vitest run --project unit test/unit/a.test.ts -t '^a suite does it$'",
    );
  });

  it('runs the whole file where no test has failed', () => {
    expect(rerunCommand({ ...place, names: [] })).toBe('npx vitest run --project unit test/unit/a.test.ts');
  });

  it('matches only that name, whatever characters it has', () => {
    const name = `it's "a+b" (1|2) [x]{3} $HOME ^ \\ ?*.`;
    const pattern = words(rerunCommand({ ...place, names: [name] })).at(-1) ?? '';
    expect(new RegExp(pattern).test(name)).toBe(true);
    expect(new RegExp(pattern).test(`${name} more`)).toBe(false);
  });
});
