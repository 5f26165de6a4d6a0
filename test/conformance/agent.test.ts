/** examples/agent.js with runc. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { archiveOfMembers, busyboxLayer, LAYERS } from '../support/test-store.ts';

const EXAMPLE = fileURLToPath(new URL('../../examples/agent.js', import.meta.url));

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('agent');
});

afterEach(() => dropScratch(scratch));

describe.runIf(havePeers('runc'))('examples/agent.js', () => {
  it('keeps good calls, rolls a bad one back, and makes an image of the best attempt', async () => {
    const archive = join(scratch, 'app.tar');
    const root = join(scratch, 'store');
    const busybox = busyboxLayer();
    busybox.push(
      ...['rm', 'test', 'echo'].map((name) => ({
        ...{ name: `bin/${name}`, type: 'symlink' as const, linkname: 'busybox' },
      })),
    );
    writeFileSync(archive, archiveOfMembers([...LAYERS, busybox]));
    const ran = await run(process.execPath, [EXAMPLE, archive, root]);
    expect(ran.stderr).toBe('');
    expect(ran.stdout.trimEnd().split('\n')).toEqual([
      'kept echo plan > /plan',
      'rolled back rm /plan; exit 1',
      'kept echo draft > /draft',
      'changed A/result',
      expect.stringMatching(/^image sha256:[0-9a-f]{64}$/) as unknown,
    ]);
    expect(ran.status).toBe(0);
    const store = await Layerstack.open({ root });
    try {
      expect(await store.containers.list()).toEqual([]);
      const { tar } = await store.containers.getArchive(
        await store.containers.create('agent:done'),
        '/result',
      );
      const pieces: Buffer[] = [];
      for await (const piece of tar) pieces.push(piece as Buffer);
      expect(Buffer.concat(pieces).includes('draft')).toBe(true);
    } finally {
      await store.close();
    }
  });
});
