/**
 * The row of `push`: the image to an empty registry on loopback; how long it takes once more, when all of it is there, goes below the
 * table. Each run has a registry of its own, and a repository that was never pushed to.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, URL } from 'node:url';
import { ImageStore } from '../dist/image/store.js';
import { LayerStore } from '../dist/layer/store.js';
import { Root } from '../dist/system/root.js';
import { withDockerd } from './support/dockerd.js';
import { sh, summary, timed, watched } from './support/measure.js';
import { withRegistry } from './support/registry.js';
import { onFreshVolume } from './support/volume.js';

const CLI = fileURLToPath(new URL('../dist/app/cli/main.js', import.meta.url));

/** `count` times: names the image after a new registry and pushes it twice. */
async function twice(count, { tag, push, forget }) {
  const first = [];
  const again = [];
  for (let run = 0; run < count; run++) {
    await withRegistry(async (host) => {
      const reference = `${host}/bench:1`;
      await forget?.();
      await tag(reference);
      first.push(await timed(() => push(reference)));
      again.push(await timed(() => push(reference)));
    });
  }
  return [{ values: first }, { values: again }];
}

function byLayerstack(input, count) {
  return onFreshVolume(async (volume) => {
    const root = join(volume, 'store');
    const args = (...words) => [CLI, '--root', root, ...words];
    await sh(process.execPath, args('load', '-q', '-i', input.archive));
    let memory = 0;
    const [first, again] = await twice(count, {
      tag: (reference) => sh(process.execPath, args('tag', input.id, reference)),
      async push(reference) {
        const watch = await watched(process.execPath, args('push', '-q', reference), { volume });
        memory = Math.max(memory, watch.memory);
      },
      // Else the blobs of the last run's registry would be asked for.
      forget: () => rmSync(join(root, 'image/overlay2/distribution'), { recursive: true, force: true }),
    });
    return [
      { ...first, notes: `peak memory ${Math.round(memory / 1e6)} MB` },
      again,
      await floor(root, input, count),
    ];
  });
}

const byDockerd = (input, count) =>
  onFreshVolume((volume) =>
    withDockerd(join(volume, 'docker'), async ({ docker }) => {
      await docker('load', '-q', '-i', input.archive);
      return twice(count, {
        tag: (reference) => docker('tag', input.id, reference),
        push: (reference) => docker('push', '-q', reference),
      });
    }),
  );

const byPodman = (input, count) =>
  onFreshVolume(async (volume) => {
    const folders = ['--root', join(volume, 'storage'), '--runroot', join(volume, 'run')];
    const podman = (...args) => sh('podman', [...folders, '--storage-driver', 'overlay', ...args]);
    await podman('load', '-q', '-i', input.archive);
    const rows = await twice(count, {
      tag: (reference) => podman('tag', input.id, reference),
      push: (reference) => podman('push', '-q', '--tls-verify=false', reference),
    });
    await sh('umount', ['-l', join(volume, 'storage/overlay')]).catch(() => undefined);
    return rows;
  });

/** All bytes compressed on all processors, and sent nowhere: by pigz, or by layerstack itself where there is none. */
async function floor(root, input, count) {
  const pigz = await sh('pigz', ['--version']).then(
    () => true,
    () => false,
  );
  const values = [];
  for (let run = 0; run < count; run++) {
    const compress = pigz
      ? () => sh('sh', ['-c', 'for layer; do pigz -c "$layer" >/dev/null; done', 'sh', ...input.layers])
      : () => compressAll(root, input.id);
    values.push(await timed(compress));
  }
  return {
    values,
    name: pigz ? 'pigz of the layers to /dev/null' : 'the compressor alone, without a registry',
  };
}

async function compressAll(path, id) {
  const root = await Root.open(path);
  try {
    const layers = new LayerStore(root);
    const { RootFS } = await new ImageStore(root, layers).inspect(`sha256:${id}`);
    const chain = [...(await layers.graph()).keys()];
    const all = (await layers.findAll(chain)).filter((layer) => RootFS.Layers.includes(layer?.diffId));
    await Promise.all(
      all.map(async (layer) => {
        for await (const bytes of layers.compressed(layer, { compression: 'gzip' }).read()) void bytes;
      }),
    );
  } finally {
    await root.close();
  }
}

export async function push(input, count) {
  const [layerstack, again, least] = await byLayerstack(input, count);
  const [dockerd, dockerdAgain] = await byDockerd(input, count);
  const [podman, podmanAgain] = await byPodman(input, count);
  const ms = ({ values }) => `${Math.round(summary(values).median)} ms`;
  const repeated = `again, with nothing to send: ${ms(again)}, dockerd ${ms(dockerdAgain)}, podman ${ms(podmanAgain)}`;
  return {
    job: '`push`, loopback',
    budget: 1.2,
    floorName: least.name,
    layerstack: { ...layerstack, notes: `${layerstack.notes}; ${repeated}` },
    dockerd,
    podman,
    floor: least,
  };
}
