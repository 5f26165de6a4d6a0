/**
 * Imports what layerstack imports only when it is called, for commands that start quickly. A service has time before it is
 * ready; later the imports would hold up every other request for a tenth of a second, and after an upgrade the files that it was
 * started from are gone (the dependencies are then others, at the same paths). In the package it is in one file with those who import (packaging/bundle.js): Node looks for the file
 * again for every other importer.
 */
export async function preload(): Promise<void> {
  await Promise.all([
    import('undici'),
    import('../doctor.ts'),
    import('../fsck.ts'),
    import('../login.ts'),
    import('../../transfer/archive/load.ts'),
    import('../../transfer/archive/save.ts'),
    import('../../transfer/archive/import.ts'),
    import('../../transfer/archive/export.ts'),
    import('../../transfer/archive/disk-image.ts'),
    import('../../transfer/pull/pull.ts'),
    import('../../transfer/pull/layout.ts'),
    import('../../transfer/push/push.ts'),
    import('../../transfer/remote/remote.ts'),
    import('../../transfer/registry/auth/docker-config.ts'),
    import('../../transfer/registry/client.ts'),
    import('../../transfer/registry/settings.ts'),
    import('../../transfer/registry/web-file.ts'),
    import('../../container/bundle.ts'),
    import('../../rwlayer/changes.ts'),
    import('../../container/commit.ts'),
    import('../../container/copy.ts'),
    import('../../container/inspect.ts'),
    import('../../image/distribution.ts'),
    import('../../layer/zstd.ts'),
  ]);
}
