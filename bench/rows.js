/**
 * The rows of the table: each job measured against the daemons and against the least it can cost on this machine. A row is
 * a function, so that a new job is a new function in `ROWS`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { Bench } from 'tinybench';
import { Layerstack } from '../dist/index.js';
import { pull } from './pull.js';
import { push } from './push.js';
import { withDockerd } from './support/dockerd.js';
import { sh, timed, watched } from './support/measure.js';
import { onFreshVolume } from './support/volume.js';

const CLI = fileURLToPath(new URL('../dist/app/cli/main.js', import.meta.url));

/** `values` in milliseconds, one per run; `notes` go below the table. */
async function runs(count, measure) {
  const values = [];
  for (let run = 0; run < count; run++) values.push(await measure());
  return { values };
}

/** Loads an archive by the command, each time into a new store on a new volume. */
async function loadByLayerstack(archive, count) {
  const watches = [];
  const { values } = await runs(count, () =>
    onFreshVolume(async (volume) => {
      const watch = await watched(
        process.execPath,
        [CLI, '--root', join(volume, 'store'), 'load', '-i', archive],
        { volume },
      );
      watches.push(watch);
      return watch.ms;
    }),
  );
  const most = (key) => Math.max(...watches.map((watch) => watch[key]));
  const disk = Math.max(...watches.map((watch) => watch.disk / watch.final));
  return {
    values,
    notes: `peak memory ${Math.round(most('memory') / 1e6)} MB, disk high-water ${disk.toFixed(3)} × the final size`,
  };
}

const loadByDockerd = (archive, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      withDockerd(join(volume, 'docker'), ({ docker }) => timed(() => docker('load', '-q', '-i', archive))),
    ),
  );

/** podman on a storage of its own. */
function podmanOn(volume) {
  const options = [
    '--root',
    join(volume, 'storage'),
    '--runroot',
    join(volume, 'run'),
    '--storage-driver',
    'overlay',
  ];
  const podman = (...args) => sh('podman', [...options, ...args]);
  // It reads no archive that is compressed as a whole.
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
  return podman;
}

const loadByPodman = (archive, count) =>
  runs(count, () =>
    onFreshVolume(async (volume) => {
      const podman = podmanOn(volume);
      await podman('info'); // makes its storage
      const result = await timed(() => podman.load(archive));
      await sh('umount', ['-l', join(volume, 'storage/overlay')]).catch(() => undefined);
      return result;
    }),
  );

/** GNU tar -x of every layer, and the sync that makes it last. */
const extraction = (layers, count) =>
  runs(count, () =>
    onFreshVolume((volume) =>
      timed(async () => {
        for (const [index, layer] of layers.entries()) {
          const target = join(volume, String(index));
          mkdirSync(target);
          await sh('tar', ['-C', target, '--numeric-owner', '--xattrs', '--xattrs-include=*', '-xpf', layer]);
        }
        await sh('sync', ['-f', volume]);
      }),
    ),
  );

const INFLATE = `
import sys, zlib
inflater = zlib.decompressobj(31)
with open(sys.argv[1], "rb") as file:
    while chunk := file.read(1 << 20):
        inflater.decompress(chunk)
`;

/** zlib, one thread, all bytes. */
const inflation = (gzip, count) => runs(count, () => timed(() => sh('python3', ['-c', INFLATE, gzip])));

export async function load(input, count) {
  return {
    job: '`load`, durable',
    budget: 0.8,
    floorName: 'tar -x of the layers + sync',
    layerstack: await loadByLayerstack(input.archive, count),
    dockerd: await loadByDockerd(input.archive, count),
    podman: await loadByPodman(input.archive, count),
    floor: await extraction(input.layers, count),
  };
}

export async function loadGzip(input, count) {
  const tar = await extraction(input.layers, count);
  const inflate = await inflation(input.gzip, count);
  const sum = ({ values }) => values.reduce((total, value) => total + value, 0);
  const slower = sum(tar) > sum(inflate) ? tar : inflate;
  return {
    job: '`load` of the gzip form',
    budget: 1.1,
    floorName: `the slower of inflate and tar -x + sync (here ${slower === tar ? 'tar' : 'inflate'})`,
    layerstack: await loadByLayerstack(input.gzip, count),
    dockerd: await loadByDockerd(input.gzip, count),
    podman: await loadByPodman(input.gzip, count),
    floor: slower,
  };
}

const SAMPLES = 100;

/** Two tasks of tinybench that hand containers to each other: one makes them, the other takes them away. */
async function pairOf({ create, remove, samples = SAMPLES }) {
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
    { afterEach: () => remove(made) },
  );
  bench.add('remove', () => remove(made), {
    beforeEach: async () => {
      made = await create();
    },
  });
  const [creating, removing] = await bench.run();
  for (const { result } of [creating, removing]) if (result?.error) throw result.error;
  return [creating, removing].map(({ result }) => ({ values: [...result.latency.samples] }));
}

async function containersByLayerstack(volume, input) {
  const store = await Layerstack.open({ root: join(volume, 'store') });
  try {
    return await pairOf({
      async create() {
        const container = await store.create(input.id);
        return { container, mount: await store.mount(container) };
      },
      async remove({ container, mount }) {
        await mount.unmount();
        await store.remove(container);
      },
    });
  } finally {
    await store.close();
  }
}

/** By its API; asking for the archive's head is what makes dockerd mount, and unmount again. */
const containersByDockerd = (volume, input) =>
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

/** By its commands: it has no daemon to ask. */
async function containersByPodman(volume, input) {
  const podman = podmanOn(volume);
  await podman.load(input.archive);
  const result = await pairOf({
    samples: 15,
    async create() {
      const id = await podman('create', '--network', 'none', input.id, 'true');
      await podman('mount', id);
      return id;
    },
    async remove(id) {
      await podman('umount', id);
      await podman('rm', id);
    },
  });
  await sh('umount', ['-l', join(volume, 'storage/overlay')]).catch(() => undefined);
  return result;
}

/** The C program on the store's own layers. */
async function containersByFloor(volume, input) {
  const program = join(volume, 'floor');
  await sh('cc', ['-O2', '-o', program, fileURLToPath(new URL('floor.c', import.meta.url))]);
  const overlay = join(volume, 'store/overlay2');
  const lowers = topLowers(join(volume, 'store'), input.layers.length);
  const lines = (await sh(program, [overlay, lowers, String(SAMPLES)])).split('\n');
  return [0, 1].map((column) => ({ values: lines.map((line) => Number(line.split(' ')[column]) / 1000) }));
}

/** The l/ names of an image's layers: those of the only layer that has all others below it. */
function topLowers(store, layers) {
  const overlay = join(store, 'overlay2');
  for (const id of readdirSync(overlay)) {
    if (!/^[0-9a-f]{64}$/.test(id)) continue;
    const link = `l/${readFileSync(join(overlay, id, 'link'), 'utf8')}`;
    const lower = join(overlay, id, 'lower');
    const chain = existsSync(lower) ? [link, ...readFileSync(lower, 'utf8').split(':')] : [link];
    if (chain.length === layers) return chain.join(':');
  }
  throw new Error(`no layer of ${store} has ${layers - 1} below it`);
}

export async function containers(input) {
  const [layerstack, floor] = await onFreshVolume(async (volume) => {
    await sh(process.execPath, [CLI, '--root', join(volume, 'store'), 'load', '-i', input.archive]);
    return [await containersByLayerstack(volume, input), await containersByFloor(volume, input)];
  });
  const dockerd = await onFreshVolume((volume) => containersByDockerd(volume, input));
  const podman = await onFreshVolume((volume) => containersByPodman(volume, input));
  return ['create + mount (store open)', 'unmount + remove'].map((job, index) => ({
    job,
    budget: 2,
    floorName: index === 0 ? 'mkdirs + mount(2) in C' : 'umount2 + rmdirs in C',
    layerstack: layerstack[index],
    dockerd: dockerd[index],
    podman: podman[index],
    floor: floor[index],
  }));
}

/** Every job, in the order of the table. */
export const ROWS = [load, loadGzip, pull, push, containers];
