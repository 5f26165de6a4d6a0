/** Removes flat lowers (layer/flat.ts) when a layer in them changes. */
import { randomBytes } from 'node:crypto';
import { chainIdOf, digestOfHex, isHex64, type ChainID } from '../core/digest.ts';
import { call, native } from '../system/native.ts';
import { listEntries } from '../system/removal.ts';
import type { Root } from '../system/root.ts';
import type { Marker } from '../system/session.ts';
import { standsOn } from './lineage.ts';

/** Removes the flat lowers with this layer. None of them may be mounted. */
export async function dropFlats(root: Root, chainId: ChainID): Promise<void> {
  const { layout } = root;
  const flats = (await listEntries(layout, layout.flats)).flatMap((name) => {
    const top = name.replace(/-init$/, '');
    if (!isHex64(top) || !standsOn(layout, chainIdOf(digestOfHex(top)), chainId)) return [];
    return [{ name, temporary: `.tmp-${randomBytes(8).toString('hex')}` }];
  });
  if (flats.length === 0) return;
  const markers = flats.map(({ temporary }): Marker => `flat.${temporary}`);
  const renames = flats.map(({ name, temporary }) => ({
    op: 'rename' as const,
    from: layout.flat(name),
    to: layout.flat(temporary),
  }));
  const session = root.session();
  await session.mark(markers, renames);
  for (const { temporary } of flats) await call(native.removeTree(layout.root, layout.flat(temporary)));
  await session.unmark(markers);
}
