/**
 * The measured programs, each on its own volume: layerstack's command and library, and podman. dockerd is in
 * dockerd.js.
 */
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { Layerstack } from '../../dist/bundle/index.js';
import { sh } from './measure.js';

/** The command's script for Node. */
export const CLI = fileURLToPath(new URL('../../dist/bundle/main.js', import.meta.url));

/** Returns the path of the store on a volume. */
export const storeOn = (volume) => join(volume, 'store');

/** Runs layerstack's command on the volume's store. */
export const layerstack = (volume, ...args) =>
  sh(process.execPath, [CLI, '--root', storeOn(volume), ...args]);

/** Opens the volume's store and passes it to `work`. */
export async function withStore(volume, work) {
  const store = await Layerstack.open({ root: storeOn(volume) });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Compiles bench/floor.c on the volume, and returns the program's path. */
export async function floorOn(volume) {
  const program = join(volume, 'floor');
  await sh('cc', ['-O2', '-o', program, fileURLToPath(new URL('../floor.c', import.meta.url))]);
  return program;
}

/** Writes pending data to disk, so that a run does not write the data of another one. */
export const sync = (volume) => sh('sync', ['-f', volume]);

/** podman on its own storage. Call `unmount` at the end. */
export function podmanOn(volume) {
  const options = [
    '--root',
    join(volume, 'storage'),
    '--runroot',
    join(volume, 'run'),
    '--storage-driver',
    'overlay',
  ];
  const podman = (...args) => sh('podman', [...options, ...args]);
  podman.options = options;
  podman.create = (image) => podman('create', '--network', 'none', image, 'true');
  // podman cannot load an archive that is compressed as a whole.
  podman.load = (archive) =>
    archive.endsWith('.gz')
      ? sh('sh', [
          '-c',
          'archive=$1; shift; gzip -dc "$archive" | podman "$@" load -q',
          'sh',
          archive,
          ...options,
        ])
      : podman('load', '-q', '-i', archive);
  podman.unmount = () => sh('umount', ['-l', join(volume, 'storage/overlay')]).catch(() => undefined);
  return podman;
}
