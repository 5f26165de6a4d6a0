import { describe, expect, it } from 'vitest';
import { MEDIA_TYPES, parseManifest } from '../../../src/core/descriptor.ts';

const digest = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;
const blob = (n: number, more: object = {}): object => ({
  mediaType: 'application/octet-stream',
  digest: digest(n),
  size: n,
  ...more,
});
const parse = (value: unknown): ReturnType<typeof parseManifest> =>
  parseManifest(Buffer.from(JSON.stringify(value)), 'manifest m');
const refuse = (value: unknown, why: RegExp): void => {
  expect(() => parse(value)).toThrow(
    expect.objectContaining({ code: 'ERR_MANIFEST_INVALID', message: expect.stringMatching(why) as string }),
  );
};

describe('a manifest', () => {
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: blob(1),
    layers: [blob(2), blob(3)],
  };

  it('names a config and layers', () => {
    const read = parse(manifest);
    expect(read).toMatchObject({ kind: 'manifest', config: { digest: digest(1), size: 1 } });
    expect(read.kind === 'manifest' && read.layers.map((layer) => layer.digest)).toEqual([
      digest(2),
      digest(3),
    ]);
  });

  it('may have no media type and no layers', () => {
    expect(parse({ config: blob(1) })).toMatchObject({ kind: 'manifest', layers: [] });
  });

  it('is refused where a descriptor is malformed, which is named', () => {
    refuse(
      { ...manifest, layers: [blob(2), { ...blob(3), digest: 'md5:1' }] },
      /layers\[1\]\.digest is not a digest/,
    );
    refuse({ ...manifest, layers: [{ ...blob(3), size: -1 }] }, /layers\[0\]\.size is negative/);
    refuse({ ...manifest, config: undefined }, /config is missing/);
    refuse({ ...manifest, layers: {} }, /layers is an object/);
    refuse([], /the document is an array/);
  });

  it('of docker schema 1 is refused with advice', () => {
    refuse({ schemaVersion: 1, fsLayers: [] }, /schema 1.*push the image again/);
  });
});

describe('an index', () => {
  it('names manifests by platform', () => {
    const read = parse({
      schemaVersion: 2,
      manifests: [
        blob(1, { platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } }),
        blob(2, { annotations: { a: 'b' } }),
      ],
    });
    expect(read.kind === 'index' && read.manifests[0]?.platform).toEqual({
      os: 'linux',
      architecture: 'arm64',
    });
    expect(read.kind === 'index' && [...(read.manifests[1]?.annotations ?? [])]).toEqual([['a', 'b']]);
  });

  it('must not be a manifest at the same time (CVE-2021-41190)', () => {
    refuse({ config: blob(1), layers: [], manifests: [] }, /both a manifest and an index/);
    refuse({ layers: [blob(1)], Manifests: [blob(2)] }, /both a manifest and an index/);
    refuse({ mediaType: MEDIA_TYPES.dockerManifest, manifests: [] }, /but is an index/);
    refuse({ mediaType: MEDIA_TYPES.ociIndex, config: blob(1), layers: [] }, /but is a manifest/);
  });
});
