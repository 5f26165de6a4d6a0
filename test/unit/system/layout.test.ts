import { describe, expect, it } from 'vitest';
import type { ChainID, ImageID } from '../../../src/core/digest.ts';
import { Layout } from '../../../src/system/layout.ts';

const hex = '0123456789abcdef'.repeat(4);
const layout = new Layout('/var/lib/layerstack');

describe('Layout', () => {
  it.each([
    [layout.layer(`sha256:${hex}` as ChainID), `image/overlay2/layerdb/sha256/${hex}`],
    [layout.layer(`sha256:${hex}` as ChainID, 'cache-id'), `image/overlay2/layerdb/sha256/${hex}/cache-id`],
    [layout.writeSet('write-set-1', 'diff'), 'image/overlay2/layerdb/tmp/write-set-1/diff'],
    [layout.mount('c', 'mount-id'), 'image/overlay2/layerdb/mounts/c/mount-id'],
    [layout.imageContent(`sha256:${hex}` as ImageID), `image/overlay2/imagedb/content/sha256/${hex}`],
    [
      layout.imageMetadata(`sha256:${hex}` as ImageID, 'parent'),
      `image/overlay2/imagedb/metadata/sha256/${hex}/parent`,
    ],
    [layout.overlay('x', 'diff'), 'overlay2/x/diff'],
    [layout.link('ABC'), 'overlay2/l/ABC'],
    [layout.container('c', 'config.v2.json'), 'containers/c/config.v2.json'],
    [layout.mountCount('m'), 'layerstack/mounts/m.json'],
    [layout.session('s', 'lock'), 'layerstack/sessions/s/lock'],
    [layout.flat('f'), 'layerstack/flat/f'],
  ])('gives %s', (path, expected) => {
    expect(path).toBe(expected);
  });

  it('makes paths absolute, also below /', () => {
    expect(layout.at('overlay2')).toBe('/var/lib/layerstack/overlay2');
    expect(new Layout('/').at('overlay2')).toBe('/overlay2');
  });

  it('makes parents before children', () => {
    const paths = layout.skeleton().map(({ path }) => path);
    for (const path of paths) {
      const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0));
      if (parent !== '') expect(paths.indexOf(parent)).toBeLessThan(paths.indexOf(path));
      if (parent !== '') expect(paths).toContain(parent);
    }
  });
});
