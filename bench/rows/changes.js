/**
 * What becomes of a container's changes: `diff` and `commit`. Every program gets a container of the image with the same
 * changes, written straight into its upper directory and synced.
 */
import { randomFillSync } from 'node:crypto';
import { Buffer } from 'node:buffer';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, timed } from '../support/measure.js';
import { floorOn, layerstack, podmanOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

const DIRECTORIES = 200;
const FILES = 100; // in each
const MIB = 1 << 20;

/** 20,000 small files, and one of `blobMiB` that nothing compresses. */
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

/** Each takes what is to be timed; the library and dockerd's API do without a program's start. */
const measure = ({ input, count, blobMiB, byLayerstack, byDockerd, byPodman }) => ({
  layerstack: () =>
    runs(count, () =>
      onFreshVolume(async (volume) => {
        await layerstack(volume, 'load', '-i', input.archive);
        return withStore(volume, async (store) => {
          const container = await store.create(input.id);
          const { GraphDriver } = await store.inspectContainer(container);
          await change(volume, GraphDriver.Data.UpperDir, blobMiB);
          return timed(() => byLayerstack(store, container));
        });
      }),
    ),
  dockerd: () =>
    runs(count, () =>
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
    ),
  podman: () =>
    runs(count, () =>
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
    ),
});

/** A directory with the changes, for the floors. */
const onChanges = (count, blobMiB, work) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const upper = join(volume, 'upper');
      mkdirSync(upper);
      await change(volume, upper, blobMiB);
      return work(upper, volume);
    }),
  );

async function row(facts, programs, floor) {
  const [library, dockerd, podman] = [
    await programs.layerstack(),
    await programs.dockerd(),
    await programs.podman(),
  ];
  return { ...facts, layerstack: library, dockerd, podman, floor: await floor() };
}

export const diff = (input, count) =>
  row(
    {
      job: '`diff` of 20,000 new files (store open)',
      budget: 2,
      floorName: 'a walk of the upper with lstat in C',
    },
    measure({
      input,
      count,
      blobMiB: 0,
      byLayerstack: (store, container) => store.diff(container),
      byDockerd: (api, id) => api('GET', `/containers/${id}/changes`),
      byPodman: (podman, id) => podman('diff', id),
    }),
    () =>
      onChanges(
        count,
        0,
        async (upper, volume) => Number(await sh(await floorOn(volume), ['walk', upper])) / 1000,
      ),
  );

const TAR = 'tar -C "$1" --numeric-owner -cf - . | tee "$2/layer.tar" | openssl dgst -sha256 && sync -f "$2"';

export const commit = (input, count) =>
  row(
    {
      job: '`commit` of 20,000 files + 200 MiB (store open)',
      budget: 1.3,
      floorName: 'tar of the upper to a file and into SHA-256 + sync',
    },
    measure({
      input,
      count,
      blobMiB: 200,
      byLayerstack: (store, container) => store.commit(container),
      byDockerd: (api, id) => api('POST', `/commit?container=${id}`),
      byPodman: (podman, id) => podman('commit', '-q', id),
    }),
    () =>
      onChanges(count, 200, (upper, volume) =>
        timed(() => sh('bash', ['-o', 'pipefail', '-c', TAR, 'sh', upper, volume])),
      ),
  );
