/** Each fuzz target holds for every input of its corpus: seeds, and inputs that have once found a fault. */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { runNativeTest } from './build.ts';

const FUZZ = fileURLToPath(new URL('../fuzz', import.meta.url));
const TARGETS = readdirSync(join(FUZZ, 'targets')).map((file) => basename(file, '.cc'));

it('each target has a corpus', () => {
  expect(readdirSync(join(FUZZ, 'corpus')).sort()).toEqual([...TARGETS].sort());
});

it.each(TARGETS)('%s', async (target) => {
  const corpus = join(FUZZ, 'corpus', target);
  const inputs = readdirSync(corpus).map((file) => join(corpus, file));
  expect(inputs.length).toBeGreaterThan(4);
  const { output, passed } = await runNativeTest(`${target}_replay`, inputs, FUZZ);
  expect(output).toContain(`${inputs.length} inputs`);
  expect(passed, output).toBe(true);
});
