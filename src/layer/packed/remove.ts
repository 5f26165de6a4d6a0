/**
 * Removes packed layers. After its rename a layer does not exist for any process. A mount of it keeps its
 * files until it ends.
 */
import type { ChainID } from '../../core/digest.ts';
import { randomName } from '../../core/random.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { statEntry } from '../../system/store-files.ts';

/** Removes the entries that exist, children before parents as the caller lists them. Not synced. */
export async function removePacked(root: Root, chainIds: Iterable<ChainID>): Promise<void> {
  const { layout } = root;
  for (const chainId of chainIds) {
    if (statEntry(layout.at(layout.packedLayer(chainId))) === undefined) continue;
    const name = layout.stagedPackedLayer(`.tmp-${randomName(8).toString('hex')}`);
    await using _marker = await root.session().temporary(name);
    await call(
      native.batch(layout.root, [
        { op: 'rename', from: layout.packedLayer(chainId), to: name },
        { op: 'removeTree', path: name },
      ]),
    );
  }
}
