import { describe, expect, it } from 'vitest';
import { chainIds, digestOf, type DiffID } from '../../../src/core/digest.ts';
import type { Layer, StagedLayer } from '../../../src/layer/store.ts';
import { planImages } from '../../../src/layer/plan.ts';

const diff = (name: string): DiffID => digestOf(name) as string as DiffID;
const staged = (name: string): StagedLayer =>
  ({ cacheId: `${name}-${Math.random()}`, writeSet: 'write-set-1', diffId: diff(name) }) as StagedLayer;
const chains = (...names: string[]) => chainIds(names.map(diff));

describe('planImages', () => {
  it('lists every chain once, parents first', () => {
    const [a, b, c] = [staged('a'), staged('b'), staged('c')];
    const { layers, tops, notices } = planImages([[a, b], [], [a, c], [staged('a')]]);
    const [ca, cab] = chains('a', 'b');
    const [, cac] = chains('a', 'c');
    expect(layers).toEqual([
      { chainId: ca, parent: undefined, layer: a },
      { chainId: cab, parent: ca, layer: b },
      { chainId: cac, parent: ca, layer: c },
    ]);
    expect(tops).toEqual([cab, undefined, cac, ca]);
    expect(notices).toEqual([]);
  });

  it('reproduces the example of docs/docker-overlay2-store.md, "Identifiers"', () => {
    const ids = [
      'sha256:ab8486bd3b094099b0e8da07035b4f4d889e39eba83c674d320ba5372b39ca0b',
      'sha256:8a62a82ebf36990a1f56ea8b5844038343c7d69bdc03384534762ee32c9beaba',
    ];
    const { tops } = planImages([ids.map((diffId) => ({ ...staged('x'), diffId: diffId as DiffID }))]);
    expect(tops).toEqual(['sha256:7516fc20f4b9eaaad8fb9b4a9162d113eeaf952dff5f25a000741d48857644b5']);
  });

  it('refuses one copy for two chains, and a layer on a chain that is not its own', () => {
    const [a, b] = [staged('a'), staged('b')];
    expect(() => planImages([[a, b], [b]])).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }));
    const known: Layer = { chainId: chains('b')[0] as never, diffId: diff('b'), cacheId: 'x', size: 0 };
    expect(() => planImages([[a, known]])).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }));
  });

  it.each([
    [125, 0],
    [126, 1],
    [500, 1],
  ])('takes %i layers with %i notices', (count, expected) => {
    const copies = Array.from({ length: count }, () => staged('x'));
    expect(planImages([copies]).notices).toHaveLength(expected);
  });

  it('refuses 501', () => {
    expect(() => planImages([Array.from({ length: 501 }, () => staged('x'))])).toThrow(
      expect.objectContaining({ code: 'ERR_LAYER_DEPTH', limit: 500, found: 501 }),
    );
  });
});
