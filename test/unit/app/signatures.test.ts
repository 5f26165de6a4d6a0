import { readdir, readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { signatureFiles } from '../../../packaging/signatures.js';

const FOLDER = new URL('../../../src/app/signatures/', import.meta.url);

it('the signatures match the types of the public methods (otherwise run `npm run signatures`)', async () => {
  const written: Record<string, string> = {};
  for (const name of await readdir(FOLDER)) written[name] = await readFile(new URL(name, FOLDER), 'utf8');
  expect(written).toEqual(signatureFiles());
}, 120_000); // the compiler reads all of src
