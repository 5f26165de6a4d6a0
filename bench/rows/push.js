/**
 * The row of `push`: the image to an empty registry on loopback; how long it takes once more, when all of it is there, goes below the
 * table. Each run has a registry of its own, and a repository that was never pushed to.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ImageStore } from '../../dist/image/store.js';
import { LayerStore } from '../../dist/layer/store.js';
import { Root } from '../../dist/system/root.js';
import { withDockerd } from '../support/dockerd.js';
import { runs, sh, summary, timed, watched } from '../support/measure.js';
import { CLI, layerstack, podmanOn, storeOn } from '../support/programs.js';
import { withRegistry } from '../support/registry.js';
import { onFreshVolume } from '../support/volume.js';

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
    const root = storeOn(volume);
    await layerstack(volume, 'load', '-q', '-i', input.archive);
    let memory = 0;
    const [first, again] = await twice(count, {
      tag: (reference) => layerstack(volume, 'tag', input.id, reference),
      async push(reference) {
        const args = [CLI, '--root', root, 'push', '-q', reference];
        const watch = await watched(process.execPath, args, { volume });
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
    const podman = podmanOn(volume);
    await podman.load(input.archive);
    const rows = await twice(count, {
      tag: (reference) => podman('tag', input.id, reference),
      push: (reference) => podman('push', '-q', '--tls-verify=false', reference),
    });
    await podman.unmount();
    return rows;
  });

/** All bytes compressed on all processors, and sent nowhere: by pigz, or by layerstack itself where there is none. */
async function floor(root, input, count) {
  const pigz = await sh('pigz', ['--version']).then(
    () => true,
    () => false,
  );
  const files = pigz ? await input.layers() : [];
  const compress = pigz
    ? () => sh('sh', ['-c', 'for layer; do pigz -c "$layer" >/dev/null; done', 'sh', ...files])
    : () => compressAll(root, input.id);
  return {
    ...(await runs(count, () => timed(compress))),
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
  const [ours, again, least] = await byLayerstack(input, count);
  const [dockerd, dockerdAgain] = await byDockerd(input, count);
  const [podman, podmanAgain] = await byPodman(input, count);
  const ms = ({ values }) => `${Math.round(summary(values).median)} ms`;
  const repeated = `again, with nothing to send: ${ms(again)}, dockerd ${ms(dockerdAgain)}, podman ${ms(podmanAgain)}`;
  return {
    job: '`push`, loopback',
    budget: 1.2,
    floorName: least.name,
    layerstack: { ...ours, notes: `${ours.notes}; ${repeated}` },
    dockerd,
    podman,
    floor: least,
  };
}
