/**
 * A planted entry stops the check and the use of one object. Everything else is checked, listed and mounted.
 */
import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Layerstack } from '../../src/app/layerstack.ts';
import type { StoreFinding } from '../../src/core/store-finding.ts';
import { rejection } from '../support/errors.ts';
import { archiveOfMembers, chunks, IMAGE, TestStore } from '../support/test-store.ts';

let fixture: TestStore;
let id: string;

beforeEach(async () => {
  fixture = await TestStore.build();
  ({ id } = await fixture.store.containers.create(IMAGE, { name: 'web' }));
  const other = archiveOfMembers([[{ name: 'other', content: 'other' }]], {}, 'other:1');
  await fixture.store.images.load(chunks(other));
});
afterEach(() => fixture[Symbol.asyncDispose]());

const layersDir = 'image/overlay2/layerdb/sha256';
/** Returns the directory of the layer that has this file. */
function overlayWith(file: string): string {
  for (const chain of readdirSync(fixture.at(layersDir))) {
    const overlay = `overlay2/${fixture.text(`${layersDir}/${chain}/cache-id`)}`;
    if (readdirSync(fixture.at(`${overlay}/diff`)).includes(file)) return overlay;
  }
  throw new Error(`no layer has ${file}`);
}

async function check(options: Parameters<Layerstack['fsck']>[0] = {}): Promise<StoreFinding[]> {
  const findings: StoreFinding[] = [];
  for await (const finding of fixture.store.fsck(options)) findings.push(finding);
  return findings;
}
const brief = (findings: readonly StoreFinding[]): string[] =>
  findings.map(({ code, path }) => `${code} ${path}`);

/** Moves the content of a layer of the image away, and plants a link to another directory in its place. */
function plantDiff(): { readonly path: string; readonly secret: string } {
  const path = `${overlayWith('etc')}/diff`;
  renameSync(fixture.at(path), join(fixture.scratch, 'away'));
  const secret = join(fixture.scratch, 'secret');
  mkdirSync(secret);
  writeFileSync(join(secret, 'planted'), 'x');
  symlinkSync(secret, fixture.at(path));
  return { path, secret };
}

describe('a link planted for the content of a layer', () => {
  it.each(['fsconfig', 'mount', 'flat'])('is never mounted by the method %s', async (method) => {
    const { secret } = plantDiff();
    await fixture.store.close();
    process.env['LAYERSTACK_CAPS'] = `mount=${method}`;
    try {
      await fixture.reopen();
    } finally {
      delete process.env['LAYERSTACK_CAPS'];
    }
    expect(await rejection(fixture.store.containers.mount(id))).toMatchObject({ code: 'ERR_STORE_CORRUPT' });
    expect(readdirSync(secret)).toEqual(['planted']);
  });

  it('does not hide the damage of other layers, images and containers from a deep check', async () => {
    const { path, secret } = plantDiff();
    const other = overlayWith('other');
    writeFileSync(fixture.at(`${other}/diff/other`), 'OTHER');
    truncateSync(fixture.at(`${other}/link`));
    rmSync(fixture.at(`layerstack/names/web`));
    symlinkSync('0'.repeat(64), fixture.at('layerstack/names/stale'));
    const wanted = [
      `entry-planted ${path}`,
      `overlay-link ${other}/link`,
      `layer-damaged ${other}/diff/other`,
      'name-index layerstack/names/stale',
    ];
    expect(brief(await check({ deep: true }))).toEqual(expect.arrayContaining(wanted));
    expect(brief(await check({ deep: true, repair: true }))).toEqual(expect.arrayContaining(wanted));
    expect(readdirSync(secret)).toEqual(['planted']);
  });

  it('leaves the other images usable', async () => {
    plantDiff();
    expect((await fixture.store.images.list()).length).toBe(2);
    await fixture.store.images.save(['other:1']).resume().toArray();
    const container = await fixture.store.containers.create('other:1', { name: 'second' });
    const mount = await fixture.store.containers.mount(container);
    expect(readdirSync(mount.path)).toContain('other');
    await mount.unmount();
  });
});

describe('a stack that names anything but short names', () => {
  it.each(['/etc', '../../../etc', 'l/..', 'l/../../etc'])(
    'is refused, and not mounted: %s',
    async (planted) => {
      const { mountId } = await fixture.store.containers.get('web');
      const path = `overlay2/${mountId}/lower`;
      writeFileSync(fixture.at(path), `${fixture.text(path)}:${planted}`);
      const error = await rejection(fixture.store.containers.mount(id));
      expect(error).toMatchObject({ code: 'ERR_STORE_CORRUPT', path: fixture.at(path) });
      expect(brief(await check({ repair: true }))).toEqual([`overlay-lower ${path}`]);
      await (await fixture.store.containers.mount(id)).unmount();
    },
  );
});
