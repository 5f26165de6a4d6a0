/**
 * Writes the manual pages, `dist/man`, from the declarations of the commands (src/app/cli/man.ts). Their date
 * is SOURCE_DATE_EPOCH, or today.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath, URL } from 'node:url';
import { manPages } from '../dist/app/cli/man.js';

const OUTPUT = fileURLToPath(new URL('../dist/man/', import.meta.url));

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
const epoch = process.env['SOURCE_DATE_EPOCH'];
const date = (epoch ? new Date(Number(epoch) * 1000) : new Date()).toISOString().slice(0, 10);

await rm(OUTPUT, { recursive: true, force: true });
await mkdir(OUTPUT, { recursive: true });
for (const [name, text] of await manPages({ version, date })) await writeFile(OUTPUT + name, text);
