import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { HOST_CONFIG } from '../../../src/container/docker-types.ts';

it('docs/bundle.md covers every key of docker’s host config', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/bundle.md'), 'utf8');
  const { fields } = HOST_CONFIG as { readonly fields: ReadonlyMap<string, { readonly name: string }> };
  const keys = new Set([...fields.values()].map(({ name }) => name));
  expect(keys.size).toBeGreaterThan(60);
  expect([...keys].filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
});
