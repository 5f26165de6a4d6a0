/**
 * Imports the modules that layerstack otherwise imports on first use, which lets commands start quickly. A
 * service has time before it is ready. A later import would delay every other request for a tenth of a
 * second. And an upgrade replaces the files of the running service and of its dependencies by other versions.
 * In the package this module is in one file with its importers (packaging/bundle.js), because Node looks for
 * an imported file again for every file that imports it.
 */
export async function preload(): Promise<void> {
  await Promise.all([
    import('undici'),
    import('../build-image.ts'),
    import('../doctor.ts'),
    import('../event-reader.ts'),
    import('../fsck.ts'),
    import('../late/archives.ts'),
    import('../late/containers.ts'),
    import('../late/images.ts'),
    import('../late/registry.ts'),
    import('../late/snapshots.ts'),
    import('../orphans.ts'),
    import('../scrub.ts'),
    import('../../container/create.ts'),
    import('../../container/networks.ts'),
    import('../../container/rename.ts'),
    import('../../layer/packed/mount.ts'),
    import('../../layer/packed/verify.ts'),
    import('../../layer/staging.ts'),
    import('../../layer/zstd.ts'),
  ]);
}
