/**
 * Images with as many layers as layerstack takes, in runc and crun: in place, packed in a store, and settled.
 * A container adds an init layer, so in a store there is one lower more than overlayfs stacks.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { MAX_LAYERS } from '../../src/layer/plan.ts';
import { dockerArchive } from '../support/archives.ts';
import { CRUN } from '../support/crun.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { writeArchive } from '../support/packed-layers.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { busyboxLayer } from '../support/test-store.ts';

const IMAGE = 'deep:1';

/** The two lowest layers share a lower, so the second one removes and replaces what the first one has. */
const DEEP = imageOf(
  Array.from({ length: MAX_LAYERS }, (_, at) => {
    const own = { name: `layer-${String(at)}`, content: '' };
    const top = { name: 'top', content: String(at) };
    if (at === 0) return layerOf([...busyboxLayer(), { name: 'gone', content: '' }, top]);
    return layerOf(at === 1 ? [{ name: '.wh.gone', content: '' }, top, own] : [top, own]);
  }),
  { tags: [IMAGE], config: { Env: ['PATH=/bin'] } },
);

const command = ['sh', '-c', 'cat /top; set -- /layer-*; echo " $#"; test -e /gone || echo hidden'];
const OUTPUT = `${String(MAX_LAYERS - 1)} ${String(MAX_LAYERS - 1)}\nhidden\n`;

describe.runIf(havePeers('runc', 'crun'))('an image of the greatest depth', () => {
  let scratch: string;
  let archive: string;
  let store: Layerstack;
  let crun: string;

  beforeAll(async () => {
    scratch = makeScratch('deep');
    archive = writeArchive(join(scratch, 'deep.tar'), dockerArchive([DEEP]));
    crun = join(scratch, 'crun');
    writeFileSync(crun, CRUN, { mode: 0o755 });
    store = await Layerstack.open({ root: join(scratch, 'store') });
    await store.images.load(archive, { form: 'packed' });
    await store.containers.create(IMAGE, { name: 'deep' });
  });

  afterAll(async () => {
    await store.close();
    await dropScratch(scratch);
  });

  /** Returns what a bundle prints in a runtime. */
  async function printed(runtime: string, bundle: string): Promise<string> {
    const name = `layerstack-deep-${String(process.pid)}`;
    const state = ['--root', join(scratch, 'state')];
    return (await mustRun(runtime, [...state, 'run', '--bundle', bundle, name])).stdout;
  }

  it.each(['runc', 'crun'] as const)('runs packed, in %s', async (runtime) => {
    const { path } = await store.containers.bundle('deep', join(scratch, `packed-${runtime}`), { command });
    expect(await printed(runtime === 'crun' ? crun : runtime, path)).toBe(OUTPUT);
    await store.containers.unmount('deep');
  });

  it.each(['runc', 'crun'] as const)('runs in place, in %s', async (runtime) => {
    const { path } = await store.archives.bundle(archive, join(scratch, `place-${runtime}`), { command });
    expect(await printed(runtime === 'crun' ? crun : runtime, path)).toBe(OUTPUT);
    await store.archives.unmount(archive);
  });

  it('is compared with its container, packed', async () => {
    await using mount = await store.containers.mount('deep');
    writeFileSync(join(mount.path, 'new'), '');
    expect(await store.containers.diff('deep')).toEqual([{ kind: 'A', path: '/new' }]);
  });

  it('shows the same files when it is settled', async () => {
    await store.images.settle(IMAGE);
    await using mount = await store.containers.mount('deep');
    expect(readFileSync(join(mount.path, 'top'), 'utf8')).toBe(String(MAX_LAYERS - 1));
    expect(readFileSync(join(mount.path, 'layer-1'), 'utf8')).toBe('');
    await mount.unmount();
    expect(mountsBelow(scratch)).toEqual([]);
  });
});
