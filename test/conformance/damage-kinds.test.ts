/**
 * Each kind of damage to a store that dockerd has filled is found, stops one thing only, and is repaired as
 * fsck says. A writer of layerstack's has opened the store once before, and has so kept a copy of the names.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { ARCHIVE, DAMAGE_KINDS, expectMended } from '../support/damage-kinds.ts';
import { Dockerd } from '../support/dockerd.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

describe.runIf(havePeers('dockerd', 'docker'))("damage to a store of dockerd's", () => {
  let scratch: string;
  let archive: string;
  let made = 0;

  beforeAll(async () => {
    scratch = makeScratch('damage-docker');
    archive = join(scratch, 'all.tar');
    writeFileSync(archive, ARCHIVE);
    const daemon = await Dockerd.start(join(scratch, 'root'));
    try {
      await daemon.docker('load', '-i', archive);
      await daemon.docker('create', '--name', 'box', 'app:1', '/run');
    } finally {
      await daemon.stop();
    }
    await (await Layerstack.open({ root: join(scratch, 'root') })).close();
  });
  afterAll(() => dropScratch(scratch));

  it.each(DAMAGE_KINDS)('$kind ($finding): $mended', async (kind) => {
    const root = join(scratch, `copy${String(made++)}`);
    await must('cp', ['-a', join(scratch, 'root'), root]);
    await expectMended(root, archive, kind);
  });
});
