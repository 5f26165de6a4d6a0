/**
 * Creating and mounting a container, unmounting and removing it, with the store open.
 *
 * The floor is a single process without concurrent users. It writes Docker's files and mounts. It lacks what
 * layerstack needs for several processes and for kills: locks, the link of the name, markers, the mount
 * count. layerstack's `remove` resolves when no process sees the container any more, and deletes its files in
 * the background. No measurement runs during that deletion, because the floor does no other work during its
 * measurements either.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Bench } from 'tinybench';
import { withDockerd } from '../support/dockerd.js';
import { sh } from '../support/measure.js';
import { floorOn, layerstack, podmanOn, storeOn, sync, withStore } from '../support/programs.js';
import { onFreshVolume } from '../support/volume.js';

const SAMPLES = 100;
const ROUNDS = 5;

/**
 * Two tasks of tinybench that pass containers to each other: one creates them, the other removes them.
 * `drain` waits for the background work of a removal.
 */
async function pairOf({ create, remove, samples, drain = async () => undefined }) {
  const bench = new Bench({
    iterations: samples,
    time: 0,
    warmup: true,
    warmupIterations: 10,
    warmupTime: 0,
    retainSamples: true,
  });
  let made;
  bench.add(
    'create',
    async () => {
      made = await create();
    },
    { afterEach: () => remove(made).then(drain) },
  );
  bench.add('remove', () => remove(made), {
    beforeEach: async () => {
      made = await create();
    },
    afterEach: drain,
  });
  const [creating, removing] = await bench.run();
  for (const { result } of [creating, removing]) if (result?.error) throw result.error;
  return [creating, removing].map(({ result }) => ({ values: [...result.latency.samples] }));
}

/** Waits until no directory of a removed container is left. */
async function untilDeleted(volume) {
  const directory = join(storeOn(volume), 'overlay2');
  while (readdirSync(directory).some((name) => name.endsWith('-removing'))) await sleep(1);
}

const byLayerstack = (volume, input) =>
  withStore(volume, (store) =>
    pairOf({
      samples: SAMPLES / ROUNDS,
      async create() {
        const container = await store.containers.create(input.id);
        return { container, mount: await store.containers.mount(container) };
      },
      async remove({ container, mount }) {
        await mount.unmount();
        await store.containers.remove(container);
      },
      drain: () => untilDeleted(volume),
    }),
  );

/** Uses dockerd's API. A HEAD request for the archive makes dockerd mount and unmount. */
const byDockerd = (volume, input) =>
  withDockerd(join(volume, 'docker'), async ({ docker, api }) => {
    await docker('load', '-q', '-i', input.archive);
    return pairOf({
      samples: 30,
      async create() {
        const { Id } = await api('POST', '/containers/create', {
          Image: `sha256:${input.id}`,
          Cmd: ['true'],
        });
        await api('HEAD', `/containers/${Id}/archive?path=/`);
        return Id;
      },
      remove: (id) => api('DELETE', `/containers/${id}`),
    });
  });

/** Uses podman's commands, because it has no daemon. */
async function byPodman(volume, input) {
  const podman = podmanOn(volume);
  await podman.load(input.archive);
  return pairOf({
    samples: 15,
    async create() {
      const id = await podman.create(input.id);
      await podman('mount', id);
      return id;
    },
    async remove(id) {
      await podman('umount', id);
      await podman('rm', id);
    },
  }).finally(() => podman.unmount());
}

/** Runs the C program, which creates containers like one of the store that was never mounted. */
async function byFloor(program, volume, { id, mountId }) {
  const args = ['containers', storeOn(volume), id, mountId, String(SAMPLES / ROUNDS)];
  const lines = (await sh(program, args)).split('\n');
  return [0, 1].map((column) => ({ values: lines.map((line) => Number(line.split(' ')[column]) / 1000) }));
}

/**
 * Alternates between library and floor after a few containers, so that a slow phase of the machine affects
 * both.
 */
async function inTurn(volume, input) {
  const program = await floorOn(volume);
  const template = await withStore(volume, (store) => store.containers.create(input.id));
  const measured = { library: [], floor: [] };
  for (let round = 0; round < ROUNDS; round++) {
    measured.library.push(await byLayerstack(volume, input));
    await sync(volume);
    measured.floor.push(await byFloor(program, volume, template));
    await sync(volume);
  }
  const joined = (rounds) => [0, 1].map((job) => ({ values: rounds.flatMap((each) => each[job].values) }));
  return { library: joined(measured.library), floor: joined(measured.floor) };
}

export async function containers(input) {
  const { library, floor } = await onFreshVolume(async (volume) => {
    await layerstack(volume, 'load', '-i', input.archive);
    return inTurn(volume, input);
  });
  const dockerd = await onFreshVolume((volume) => byDockerd(volume, input));
  const podman = await onFreshVolume((volume) => byPodman(volume, input));
  return ['create + mount (store open)', 'unmount + remove'].map((job, index) => ({
    job,
    budget: 2,
    floorName:
      index === 0
        ? "all of Docker's files of a container and mount(2), in C"
        : 'umount2 and removing the same, in C',
    layerstack: library[index],
    dockerd: dockerd[index],
    podman: podman[index],
    floor: floor[index],
  }));
}
