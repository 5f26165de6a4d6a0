/**
 * Imports what the facade imports only when it is called, for commands that start quickly. A service has time before it is
 * ready; later the imports would hold up every other request for a tenth of a second.
 */
export async function preload(): Promise<void> {
  await Promise.all([
    import('../../transfer/archive/load.ts'),
    import('../../transfer/archive/save.ts'),
    import('../../transfer/archive/import.ts'),
    import('../../transfer/archive/export.ts'),
    import('../../transfer/pull.ts'),
    import('../../transfer/push.ts'),
    import('../registries.ts'),
    import('../../container/bundle.ts'),
    import('../../container/changes.ts'),
    import('../../container/commit.ts'),
    import('../../container/copy.ts'),
    import('../../container/inspect.ts'),
    import('../../image/distribution.ts'),
    import('../../layer/zstd.ts'),
  ]);
}
