import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newLinkId, newOverlayId, Overlay } from '../../../src/layer/overlay.ts';
import { Layout } from '../../../src/system/layout.ts';

let layout: Layout;

beforeEach(() => {
  layout = new Layout(mkdtempSync(join(tmpdir(), 'layerstack-overlay-')));
});

afterEach(() => {
  rmSync(layout.root, { recursive: true });
});

function directory(id: string, link: string, lower?: string): void {
  mkdirSync(layout.at(layout.overlay(id)), { recursive: true });
  writeFileSync(layout.at(layout.overlay(id, 'link')), link);
  if (lower !== undefined) writeFileSync(layout.at(layout.overlay(id, 'lower')), lower);
}

describe('ids', () => {
  it("have dockerd's form, and do not repeat", () => {
    const ids = Array.from({ length: 1000 }, newOverlayId);
    for (const id of ids) {
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(id.slice(0, 12)).not.toMatch(/^\d+$/);
    }
    const links = Array.from({ length: 1000 }, newLinkId);
    for (const link of links) expect(link).toMatch(/^[A-Z2-7]{26}$/);
    expect(new Set([...ids, ...links]).size).toBe(2000);
    expect(new Set(links.join('')).size).toBe(32);
  });
});

describe('lowersOf', () => {
  const A = 'A'.repeat(26);
  const B = 'B'.repeat(26);

  it('gives the own short name, then the lowers', async () => {
    directory('base', A);
    directory('top', B, `l/${A}`);
    const overlay = new Overlay(layout);
    expect(await overlay.lowersOf('base')).toEqual([`l/${A}`]);
    expect(await overlay.lowersOf('top')).toEqual([`l/${B}`, `l/${A}`]);
  });

  it.each(['', '../../etc', 'SHORT'])('refuses the short name %j', async (link) => {
    directory('bad', link);
    await expect(new Overlay(layout).lowersOf('bad')).rejects.toMatchObject({
      code: 'ERR_STORE_CORRUPT',
      layer: 'bad',
    });
  });

  it('refuses a missing directory', async () => {
    await expect(new Overlay(layout).lowersOf('none')).rejects.toMatchObject({ code: 'ERR_STORE_CORRUPT' });
  });
});
