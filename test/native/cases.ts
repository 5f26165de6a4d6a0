/** Makes each TEST of a C++ program a test case, so that a failing one is named. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

/** The names of the TESTs in `test/native/<program>.cc`, in their order. */
function testsOf(program: string): string[] {
  const source = readFileSync(fileURLToPath(new URL(`${program}.cc`, import.meta.url)), 'utf8');
  return [...source.matchAll(/^TEST\((\w+)\)/gm)].map(([, name]) => name ?? '');
}

/** The program's line about one TEST (check.h): `ok NAME`, or `FAIL NAME: ` and the reason. */
function verdictOf(name: string, output: string): string | undefined {
  return output.split('\n').find((line) => line === `ok   ${name}` || line.startsWith(`FAIL ${name}: `));
}

/** Builds and runs the program once, under the sanitizers, and gives each of its TESTs a case. */
export function nativeTests(program: string): void {
  describe(program, () => {
    const names = testsOf(program);
    let output = '';
    let passed = false;
    beforeAll(async () => {
      ({ output, passed } = await runNativeTest(program));
    });

    it.each(names)('%s', (name) => {
      // Without a verdict the program has died in this test or before it; its output says where.
      expect(verdictOf(name, output) ?? output).toBe(`ok   ${name}`);
    });

    it('passes all its tests without a report of the sanitizers', () => {
      expect(output).toContain(`${names.length} tests, 0 failed`);
      expect(passed, output).toBe(true);
    });
  });
}
