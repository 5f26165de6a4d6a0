/**
 * Opens the two files of a packed layer for a mount. If they have changed since they were written, such as
 * by a copy of the root, the index is written anew from the tar. The same pass verifies the tar.
 */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { hexOf } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { randomName } from '../../core/random.ts';
import { call, native } from '../../system/native.ts';
import type { Root } from '../../system/root.ts';
import { openStoreFile, readText, statEntry } from '../../system/store-files.ts';
import { OWN_LAYER_LIMITS } from '../limits.ts';
import type { PackedLayer } from './entry.ts';
import { hasTag } from './index-content.ts';
import { versionsOf } from './versions.ts';

export interface OpenIndex extends AsyncDisposable {
  readonly index: FileHandle;
  readonly tar: FileHandle;
}

/**
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a tar that was changed; system error ENOENT where the
 *   layer has vanished meanwhile.
 */
export async function openIndex(root: Root, layer: PackedLayer): Promise<OpenIndex> {
  const { layout } = root;
  const tar = await openStoreFile(
    layout.at(layout.packedLayer(layer.chainId, 'layer.tar')),
    constants.O_RDONLY,
  );
  try {
    const index = (await openKnown(root, layer, tar)) ?? (await writeAnew(root, layer, tar));
    const close = async (): Promise<void> => {
      await index.close();
      await tar.close();
    };
    return { index, tar, [Symbol.asyncDispose]: close };
  } catch (error) {
    await tar.close();
    throw error;
  }
}

/** Returns undefined where the files are not those that were written. */
async function openKnown(root: Root, layer: PackedLayer, tar: FileHandle): Promise<FileHandle | undefined> {
  const { layout } = root;
  const path = layout.at(layout.packedLayer(layer.chainId, 'index.erofs'));
  const versions = readText(layout.at(layout.packedLayer(layer.chainId, 'versions')));
  if (versions === undefined || statEntry(path) === undefined) return undefined;
  const index = await openStoreFile(path, constants.O_RDONLY);
  try {
    if ((await versionsOf(tar, index)) === versions && (await hasTag(index, layer.diffId))) return index;
  } catch (error) {
    await index.close();
    throw error;
  }
  await index.close();
  return undefined;
}

/** Writes the index beside the layer, syncs it, and renames it to its place. */
export async function writeAnew(root: Root, layer: PackedLayer, tar: FileHandle): Promise<FileHandle> {
  const { layout } = root;
  const { chainId } = layer;
  root.log.info('the index of a packed layer is written anew', { layer: chainId });
  const name = `${layout.packedLayer(chainId)}/.tmp-${randomName(8).toString('hex')}`;
  await using _marker = await root.session().temporary(name);
  const { O_RDWR, O_CREAT, O_EXCL } = constants;
  const index = await openStoreFile(layout.at(name), O_RDWR | O_CREAT | O_EXCL);
  try {
    await writeIndex(layer, tar, index);
    await index.sync();
    await root.session().replace([
      {
        op: 'replace',
        path: layout.packedLayer(chainId, 'versions'),
        data: await versionsOf(tar, index),
        mode: 0o600,
      },
    ]);
    await call(
      native.batch(layout.root, [
        { op: 'rename', from: name, to: layout.packedLayer(chainId, 'index.erofs') },
        { op: 'fsync', path: layout.packedLayer(chainId) },
      ]),
    );
    return index;
  } catch (error) {
    await index.close();
    await call(native.removeTree(layout.root, name));
    throw error;
  }
}

async function writeIndex(
  { chainId, diffId }: PackedLayer,
  tar: FileHandle,
  index: FileHandle,
): Promise<void> {
  const { size } = await tar.stat();
  const writing = new native.ErofsIndex({
    fd: index.fd,
    devices: [{ fd: tar.fd, size, tag: hexOf(diffId) }],
    layers: [{ device: 0, offset: 0, size }],
    hashed: true,
    whole: false,
    limits: OWN_LAYER_LIMITS,
  });
  let found: string | null | undefined;
  try {
    found = (await call(writing.result)).diffIds[0];
  } catch (error) {
    if (!LayerstackError.is(error)) throw error;
    throw changed(chainId, error.message, error);
  }
  if (found !== diffId) throw changed(chainId, `its digest is ${String(found)} and not ${diffId}`);
}

function changed(chainId: PackedLayer['chainId'], why: string, cause?: unknown): LayerstackError {
  return new LayerstackError(
    'ERR_STORE_CORRUPT',
    `the tar of the packed layer ${chainId} was changed or damaged on disk (${why}): load its image again to repair it`,
    { layer: chainId, cause },
  );
}
