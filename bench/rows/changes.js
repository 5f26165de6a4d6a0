/**
 * `diff` and `commit` of a container's changes. Every program gets a container of the image with the same
 * changes, written directly into its upper directory and synced.
 */
import { randomFillSync } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runsInTurn, sh, timed } from '../support/measure.js';
import { floorOn, layerstack, podmanOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

const DIRECTORIES = 200;
const FILES = 100; // in each directory
const MIB = 1 << 20;

/** Writes 20,000 small files, and an incompressible one of `blobMiB`. */
function write(upper, blobMiB) {
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    const path = join(upper, `new/d${directory}`);
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < FILES; file++)
      writeFileSync(join(path, `f${file}`), `file ${directory} ${file}\n`);
  }
  if (blobMiB === 0) return;
  const fd = openSync(join(upper, 'new/blob'), 'w');
  const bytes = Buffer.alloc(MIB);
  for (let written = 0; written < blobMiB; written++) writeSync(fd, randomFillSync(bytes));
  closeSync(fd);
}

async function change(volume, upper, blobMiB) {
  write(upper, blobMiB);
  await sync(volume);
}

/**
 * Each function receives the work to time. The library and dockerd's API need no start of a program. `floor`
 * also gets the upper directory of a container of layerstack, because writes to a volume with the image are
 * slower than to an empty one.
 */
const programs = ({ input, blobMiB, byLayerstack, byDockerd, byPodman, byFloor }) => {
  const onUpper = (work) =>
    onFreshVolume(async (volume) => {
      await layerstack(volume, 'load', '-i', input.archive);
      return withStore(volume, async (store) => {
        const container = await store.containers.create(input.id);
        const { GraphDriver } = await store.containers.inspect(container);
        const upper = GraphDriver.Data.UpperDir;
        await change(volume, upper, blobMiB);
        return work({ store, container, upper, volume });
      });
    });
  return {
    layerstack: () => onUpper(({ store, container }) => timed(() => byLayerstack(store, container))),
    floor: () => onUpper(({ upper, volume }) => byFloor(upper, volume)),
    dockerd: () =>
      onFreshVolume((volume) =>
        withDockerd(join(volume, 'docker'), async ({ docker, api }) => {
          await docker('load', '-q', '-i', input.archive);
          const { Id } = await api('POST', '/containers/create', {
            Image: `sha256:${input.id}`,
            Cmd: ['true'],
          });
          const { GraphDriver } = await api('GET', `/containers/${Id}/json`);
          await change(volume, GraphDriver.Data.UpperDir, blobMiB);
          return timed(() => byDockerd(api, Id));
        }),
      ),
    podman: () =>
      onFreshVolume(async (volume) => {
        const podman = podmanOn(volume);
        await podman.load(input.archive);
        const id = await podman.create(input.id);
        await change(
          volume,
          await podman('inspect', '--format', '{{.GraphDriver.Data.UpperDir}}', id),
          blobMiB,
        );
        return timed(() => byPodman(podman, id)).finally(() => podman.unmount());
      }),
  };
};

export const diff = async (input, count) => ({
  job: '`diff` of 20,000 new files (store open)',
  budget: 2,
  floorName: 'a walk of the upper with lstat in C',
  ...(await runsInTurn(
    count,
    programs({
      input,
      blobMiB: 0,
      byLayerstack: (store, container) => store.containers.diff(container),
      byDockerd: (api, id) => api('GET', `/containers/${id}/changes`),
      byPodman: (podman, id) => podman('diff', id),
      byFloor: async (upper, volume) => Number(await sh(await floorOn(volume), ['walk', upper])) / 1000,
    }),
  )),
});

const TAR = 'tar -C "$1" --numeric-owner -cf - . | tee "$2/layer.tar" | openssl dgst -sha256 && sync -f "$2"';

export const commit = async (input, count) => ({
  job: '`commit` of 20,000 files + 200 MiB (store open)',
  budget: 1.3,
  floorName: 'tar of the upper to a file and into SHA-256 + sync',
  ...(await runsInTurn(
    count,
    programs({
      input,
      blobMiB: 200,
      byLayerstack: (store, container) => store.containers.commit(container),
      byDockerd: (api, id) => api('POST', `/commit?container=${id}`),
      byPodman: (podman, id) => podman('commit', '-q', id),
      byFloor: (upper, volume) => timed(() => sh('bash', ['-o', 'pipefail', '-c', TAR, 'sh', upper, volume])),
    }),
  )),
});
