/**
 * Removes packed layers. After its rename a layer does not exist for any process. A mount of it keeps its
 * files until it ends.
 */
import type { ChainID } from '../../core/digest.ts';
import { randomName } from '../../core/random.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { statEntry } from '../../system/store-files.ts';
import { makeDirectory } from './directories.ts';

/** Removes the entries that exist, children before parents as the caller lists them. Not synced. */
export async function removePacked(root: Root, chainIds: Iterable<ChainID>): Promise<void> {
  const deleteFiles = await detachPacked(root, chainIds);
  await deleteFiles?.();
}

/**
 * Does {@link removePacked}, except that the files stay until the returned function is called. They have one
 * marker, which stays if they cannot be deleted. The function is undefined where no entry exists.
 */
export async function detachPacked(
  root: Root,
  chainIds: Iterable<ChainID>,
): Promise<(() => Promise<void>) | undefined> {
  const { layout } = root;
  const present = [...chainIds].filter(
    (chainId) => statEntry(layout.at(layout.packedLayer(chainId))) !== undefined,
  );
  if (present.length === 0) return undefined;
  const doomed = layout.stagedPackedLayer(`.tmp-${randomName(8).toString('hex')}`);
  const marker = await root.session().temporary(doomed);
  await call(
    native.batch(layout.root, [
      makeDirectory(doomed),
      ...present.map((chainId, index) => {
        return { op: 'rename', from: layout.packedLayer(chainId), to: `${doomed}/${String(index)}` } as const;
      }),
    ]),
  );
  return async () => {
    await call(native.removeTree(layout.root, doomed));
    await marker[Symbol.asyncDispose]();
  };
}
