/**
 * `--squash`: makes one layer of the layers above the base of a build. Mirrors `moby/moby: image/squash` and
 * `daemon/images/image_squash.go` at v20.10.
 */
import { chainIds, topChainId } from '../core/digest.ts';
import { goJson, sortedKeys } from '../core/go-json.ts';
import { LayerstackError } from '../core/errors.ts';
import { timeOf } from '../core/time.ts';
import { historyDocument, parseImageConfig, type HistoryEntry, type ImageConfig } from '../image/config.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { OWN_LAYER_LIMITS } from '../layer/store.ts';
import { call, native } from '../system/native.ts';
import type { BuildTools } from './tools.ts';

/**
 * Adds the image with the merged layer, durably, and returns it.
 * @throws {@link LayerstackError} ERR_UNSUPPORTED for packed layers; ERR_UPPER_UNSUPPORTED, ERR_NO_SPACE,
 *   ERR_ABORTED.
 */
export async function squash(
  tools: BuildTools,
  image: ImageConfig,
  base: ImageConfig | undefined,
): Promise<ImageConfig> {
  const { root, layers, images, signal } = tools;
  const below = base?.diffIds.length ?? 0;
  if (image.diffIds.length - below < 2) return image;
  const { layout } = root;
  const session = root.session();
  await using _pin = await layers.pin(chainIds(image.diffIds), { signal });
  const stack = await layers.stack(image.diffIds);
  const directories = stack.map(({ packed, cacheId }) => {
    if (packed || cacheId === undefined)
      throw new LayerstackError(
        'ERR_UNSUPPORTED',
        'packed layers cannot be squashed: settle the base first',
        {
          key: 'squash',
        },
      );
    return `${cacheId}/diff`;
  });
  const id = newOverlayId();
  const topmostFirst = (list: readonly string[]): string[] => list.toReversed();
  await session.mark(
    [`overlay2.${id}`],
    [
      { op: 'mkdir', path: layout.overlay(id), mode: 0o710 },
      {
        ...{ op: 'mergeUppers', root: layout.at(layout.overlay2), to: `${id}/diff` },
        uppers: topmostFirst(directories.slice(below)),
        lowers: topmostFirst(directories.slice(0, below)),
      },
    ],
  );
  try {
    const staged = await layers.stageAlone(
      {
        directory: layout.at(layout.overlay(id, 'diff')),
        kind: 'upper',
        sourceDateEpoch: tools.options.sourceDateEpoch,
      },
      { limits: OWN_LAYER_LIMITS, name: 'of the squashed image', signal, form: 'classic' },
    );
    try {
      const config = squashedConfig(image, base, staged.diffId, tools.options.sourceDateEpoch);
      const top = topChainId(config.diffIds);
      await using _top = await layers.pin(top === undefined ? [] : [top], { signal });
      await layers.publish([[...stack.slice(0, below), staged]], { signal });
      await images.add([{ config }], [], { signal });
      return config;
    } finally {
      await layers.discard(staged);
    }
  } finally {
    await call(native.removeTree(layout.root, layout.overlay(id)));
    await session.unmark([`overlay2.${id}`]);
  }
}

/** Returns the config: the steps above the base have no layer, and a last step has the merged one. */
function squashedConfig(
  image: ImageConfig,
  base: ImageConfig | undefined,
  diffId: ImageConfig['diffIds'][number],
  sourceDateEpoch: number | undefined,
): ImageConfig {
  const created = timeOf(sourceDateEpoch);
  const kept = base?.history.length ?? 0;
  const merged: HistoryEntry = {
    ...{ created, author: '', createdBy: '', emptyLayer: false },
    comment: `merge ${image.id} to ${base?.id ?? ''}`,
  };
  const history = [
    ...image.history.slice(0, kept),
    ...image.history.slice(kept).map((step) => ({ ...step, emptyLayer: true })),
    merged,
  ];
  const document = JSON.parse(Buffer.from(image.raw).toString()) as Record<string, unknown>;
  const members = {
    ...document,
    created: created.text,
    history: history.map(historyDocument),
    rootfs: { type: 'layers', diff_ids: [...(base?.diffIds ?? []), diffId] },
  };
  return parseImageConfig(Buffer.from(goJson(sortedKeys(Object.entries(members)))));
}
