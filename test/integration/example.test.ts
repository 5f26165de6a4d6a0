import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { archiveOfMembers, LAYERS } from '../support/test-store.ts';

const EXAMPLE = fileURLToPath(new URL('../../examples/embed.js', import.meta.url));

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('embed');
});

afterEach(async () => {
  await dropScratch(scratch);
});

describe('examples/embed.js', () => {
  it('reads a file of the image and leaves only the image', async () => {
    const archive = join(scratch, 'app.tar');
    const root = join(scratch, 'store');
    writeFileSync(archive, archiveOfMembers(LAYERS));
    const ran = await run(process.execPath, [EXAMPLE, archive, root]);
    expect(ran.stdout).toContain('mason:x:1000:100');
    expect(ran.stderr).toMatch(/^unpacked sha256:/m);
    expect(ran.status).toBe(0);
    expect(readdirSync(join(root, 'containers'))).toEqual([]);
    expect(readdirSync(join(root, 'image/overlay2/imagedb/content/sha256'))).toHaveLength(1);
  });

  it('prints the code of an error', async () => {
    const ran = await run(process.execPath, [EXAMPLE, join(scratch, 'none.tar'), join(scratch, 'store')]);
    expect(ran.stderr).toMatch(/^ERR_INVALID_ARGUMENT \(invalid\): /);
    expect(ran.status).toBe(1);
  });
});
