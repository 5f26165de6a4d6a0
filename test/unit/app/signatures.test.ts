import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { signaturesText } from '../../../packaging/signatures.js';

it('what the public methods take is what their types say: run `npm run signatures` where it is not', async () => {
  const written = await readFile(new URL('../../../src/app/signatures.ts', import.meta.url), 'utf8');
  expect(written).toBe(signaturesText());
}, 120_000); // the compiler reads all of src
