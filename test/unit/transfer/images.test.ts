import { describe, expect, it } from 'vitest';
import { parsePlatform } from '../../../src/core/platform.ts';
import { parseReference } from '../../../src/core/reference.ts';
import { parseImageConfig } from '../../../src/image/config.ts';
import {
  linkParents,
  mergeImages,
  parentsFirst,
  selectPlatform,
  type PlannedImage,
} from '../../../src/transfer/ingest/planned.ts';
import { imageOf, layerOf, type TestImage } from '../../support/images.ts';

const a = layerOf({ a: 'a' });
const b = layerOf({ b: 'b' });

function planned(image: TestImage, parent?: TestImage): PlannedImage {
  return {
    config: parseImageConfig(image.config),
    layers: [],
    references: image.tags.map(parseReference),
    parent: parent?.id,
  };
}

const ids = (images: readonly PlannedImage[]) => images.map(({ config }) => config.id);

describe('images of an archive', () => {
  const low = imageOf([a]);
  const high = imageOf([a, b]);

  it('that come twice are one with all names', () => {
    const twice = [imageOf([a], { tags: ['x:1', 'y:1'] }), imageOf([a], { tags: ['y:1', 'z:1'] })];
    const merged = mergeImages(twice.map((image) => planned(image)));
    expect(ids(merged)).toEqual([low.id]);
    expect(merged[0]?.references).toEqual(['x:1', 'y:1', 'z:1'].map(parseReference));
  });

  it('keep parents of the same archive only', () => {
    const [linked] = linkParents('x.tar', [planned(high, low), planned(low)]);
    expect(linked?.parent).toBe(low.id);
    expect(linkParents('x.tar', [planned(high, low)])[0]?.parent).toBeUndefined();
    expect(linkParents('x.tar', [planned(high, high)])[0]?.parent).toBeUndefined();
    expect(() => linkParents('x.tar', [planned(low, high), planned(high)])).toThrow(/history/);
  });

  it('are written parents first; a loop is cut', () => {
    const middle = planned(high, low);
    expect(ids(parentsFirst([middle, planned(low)]))).toEqual([low.id, high.id]);
    const plain = [a, b].map((layer) => imageOf([layer], { document: { history: undefined } }));
    const [one, two] = plain as [TestImage, TestImage];
    const loop = parentsFirst(linkParents('x.tar', [planned(one, two), planned(two, one)]));
    expect(new Set(ids(loop))).toEqual(new Set([one.id, two.id]));
    expect(loop.filter(({ parent }) => parent !== undefined)).toHaveLength(1);
    const [first, second] = loop;
    expect([first?.parent, second?.parent]).toEqual([undefined, first?.config.id]);
  });

  it('are selected by platform', () => {
    const arm = imageOf([b], { platform: { os: 'linux', architecture: 'arm64' } });
    const both = [planned(low), planned(arm)];
    expect(ids(selectPlatform('x.tar', both, parsePlatform('linux/arm64')))).toEqual([arm.id]);
    expect(() => selectPlatform('x.tar', both, parsePlatform('linux/s390x'))).toThrow(
      expect.objectContaining({ code: 'ERR_PLATFORM_NOT_FOUND', found: 'linux/amd64, linux/arm64' }),
    );
  });
});
