/**
 * The deep check of a layer: rebuilds its tar from its files, and compares it with its DiffID.
 */
import { throwIfAborted } from '../core/abort.ts';
import { hexOf } from '../core/digest.ts';
import { LayerstackError } from '../core/errors.ts';
import type { Problem } from '../core/store-finding.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import { assembleLayer } from './assemble.ts';
import { replace, underLock } from './check-overlay.ts';
import type { Layer } from './layerdb.ts';

export async function* checkContent(
  root: Root,
  { chainId, diffId, cacheId, size }: Layer,
  signal: AbortSignal | undefined,
): AsyncGenerator<Problem> {
  const { layout } = root;
  const diff = layout.at(layout.overlay(cacheId, 'diff'));
  const tarSplit = layout.at(layout.layer(chainId, 'tar-split.json.gz'));
  if (statEntry(tarSplit) === undefined) return;
  try {
    for await (const chunk of assembleLayer({ diff, tarSplit, diffId })) {
      throwIfAborted(signal);
      void chunk;
    }
  } catch (error) {
    if (!LayerstackError.is(error) || error.code === 'ERR_ABORTED') throw error;
    yield {
      code: 'layer-damaged',
      severity: 'error',
      path:
        error.member === undefined
          ? layout.overlay(cacheId, 'diff')
          : `${layout.overlay(cacheId, 'diff')}/${error.member}`,
      message: error.message,
      advice: `its files were changed or damaged: remove the images that have layer ${hexOf(chainId).slice(0, 12)}, and load them again`,
    };
  }
  const found = await call(native.contentSize(diff));
  if (found !== size)
    yield {
      code: 'layer-size',
      severity: 'warning',
      path: layout.layer(chainId, 'size'),
      message: `layer ${chainId} has ${found} bytes, and says ${size}`,
      advice: 'repair writes what it has',
      repair: () =>
        underLock(root, chainId, () => replace(root, layout.layer(chainId, 'size'), String(found), 0o644)),
    };
}
