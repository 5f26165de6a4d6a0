import { execFile } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ModuleKind, transpileModule } from 'typescript';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { defaultLogger } from '../../../src/system/log.ts';

test('records reach subscribers of their level', () => {
  const seen: unknown[] = [];
  const onMessage = (message: unknown): void => void seen.push(message);
  channel('layerstack:warn').subscribe(onMessage);
  defaultLogger.warn('an image has many layers', { layers: 126 });
  defaultLogger.info('not for this subscriber');
  channel('layerstack:warn').unsubscribe(onMessage);
  expect(seen).toEqual([{ message: 'an image has many layers', facts: { layers: 126 } }]);
});

test('nothing is printed by default', () => {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  defaultLogger.error('quiet');
  expect(write).not.toHaveBeenCalled();
  write.mockRestore();
});

describe('when debugging is asked for', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'log-'));
    for (const name of ['system/log', 'system/environment', 'core/printable']) {
      const source = await readFile(new URL(`../../../src/${name}.ts`, import.meta.url), 'utf8');
      const compilerOptions = { module: ModuleKind.ESNext, rewriteRelativeImportExtensions: true };
      const { outputText } = transpileModule(source, { compilerOptions, fileName: `${name}.ts` });
      await mkdir(join(dir, dirname(name)), { recursive: true });
      await writeFile(join(dir, `${name}.js`), outputText);
    }
    await writeFile(join(dir, 'package.json'), '{"type":"module"}');
    await writeFile(
      join(dir, 'main.mjs'),
      "import { defaultLogger } from './system/log.js'; defaultLogger.debug(`hi\\u202e`, { n: 1, path: '/x' });",
    );
  });
  afterAll(() => rm(dir, { recursive: true }));

  test.each([
    ['LAYERSTACK_DEBUG', '1', true],
    ['NODE_DEBUG', 'layerstack', true],
    ['NODE_DEBUG', 'net', false],
  ])('%s=%s prints to stderr: %s', async (key, value, printed) => {
    const { stderr } = await promisify(execFile)(process.execPath, [join(dir, 'main.mjs')], {
      env: { [key]: value },
    });
    expect(/layerstack.*debug: hi\\u202e n=1 path='\/x'/i.test(stderr)).toBe(printed);
  });
});
