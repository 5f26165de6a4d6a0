/**
 * Imports what layerstack imports only when it is called, for commands that start quickly. A service has time before it
 * is ready. Later an import would delay every other request for a tenth of a second. After an upgrade the files that
 * the service was started from are gone, and the dependencies at the same paths are others. In the package this module
 * is in one file with its importers (packaging/bundle.js): Node looks for an imported file again for every file that
 * imports it.
 */
export async function preload(): Promise<void> {
  await Promise.all([
    import('undici'),
    import('../doctor.ts'),
    import('../fsck.ts'),
    import('../late/containers.ts'),
    import('../late/images.ts'),
    import('../late/registry.ts'),
    import('../../layer/zstd.ts'),
  ]);
}
