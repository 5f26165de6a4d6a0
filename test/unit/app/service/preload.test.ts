/** Nothing that a service needs is left to be imported while it serves. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../../../../src/', import.meta.url));
const PRELOAD = 'app/service/preload.ts';

/** What the modules import when they are called, by paths below src/ or as packages. */
function lateImports(modules: readonly string[]): string[] {
  const found = modules.flatMap((module) =>
    [...readFileSync(join(SRC, module), 'utf8').matchAll(/(?<![.\w])import\(\s*'([^']+)'/g)].map(
      ([, name = '']) => (name.startsWith('.') ? relative(SRC, join(SRC, dirname(module), name)) : name),
    ),
  );
  return [...new Set(found)].sort();
}

test('a service has imported all that its modules import late before it is ready', () => {
  const modules = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.ts'),
  );
  const served = modules.filter((path) => !path.startsWith('app/cli/') && path !== PRELOAD);
  const expected = lateImports(served);
  expect(expected).toContain('app/late/images.ts');
  expect(lateImports([PRELOAD])).toEqual(expected);
});
