/** Each kind of damage to a store is found, stops one thing only, and is repaired as fsck says. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { ARCHIVE, DAMAGE_KINDS, damageRows, expectMended } from '../support/damage-kinds.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

let scratch: string;
let archive: string;
let made = 0;

beforeAll(async () => {
  scratch = makeScratch('damage');
  archive = join(scratch, 'all.tar');
  writeFileSync(archive, ARCHIVE);
  await using store = await Layerstack.open({ root: join(scratch, 'root') });
  await store.images.load(archive);
  await store.containers.create('app:1', { name: 'box' });
});
afterAll(() => dropScratch(scratch));

it('sixty kinds and more are listed, each once', () => {
  expect(DAMAGE_KINDS.length).toBeGreaterThanOrEqual(60);
  expect(new Set(DAMAGE_KINDS.map(({ kind }) => kind)).size).toBe(DAMAGE_KINDS.length);
});

it('docs/reliability.md has a row for each kind, with the finding before and the result after', () => {
  const text = readFileSync(fileURLToPath(new URL('../../docs/reliability.md', import.meta.url)), 'utf8');
  const [, table = ''] = /\n## Every kind of damage\n[^]*?\n\| -.*\n([^]*?)\n\n/.exec(text) ?? [];
  const cells = (row: string): string => row.replace(/^\| | *\|$/g, '').replace(/ *\| */g, '|');
  expect(table.split('\n').map(cells)).toEqual(damageRows());
});

it.each(DAMAGE_KINDS)('$kind ($finding): $mended', async (kind) => {
  const root = join(scratch, `copy${String(made++)}`);
  execFileSync('cp', ['-a', join(scratch, 'root'), root]);
  await expectMended(root, archive, kind);
});
