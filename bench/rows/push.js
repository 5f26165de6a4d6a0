/**
 * The row of `push`: pushes the image to an empty registry on loopback. The notes below the table have the
 * sizes of the blobs, and the time of a second push, which sends nothing. Each run has its own registry and a
 * repository without earlier pushes.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ImageStore } from '../../dist/image/store.js';
import { LayerStore } from '../../dist/layer/store.js';
import { Root } from '../../dist/system/root.js';
import { withDockerd } from '../support/dockerd.js';
import { sh, summary, timed, watched } from '../support/measure.js';
import { CLI, layerstack, podmanOn, storeOn } from '../support/programs.js';
import { withRegistry } from '../support/registry.js';
import { onFreshVolume } from '../support/volume.js';

/** Returns the bytes of all layers of an image in a registry. */
async function blobBytes(reference) {
  const manifest = await sh('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${reference}`]);
  return JSON.parse(manifest).layers.reduce((sum, { size }) => sum + size, 0);
}

/** Tags the image for a new registry and pushes it twice. */
function twice({ tag, push, forget }, measured) {
  return withRegistry(async (host) => {
    const reference = `${host}/bench:1`;
    await forget?.();
    await tag(reference);
    measured.first.push(await timed(() => push(reference)));
    measured.again.push(await timed(() => push(reference)));
    measured.bytes = await blobBytes(reference);
  });
}

async function layerstackOn(volume, input, watch) {
  const root = storeOn(volume);
  await layerstack(volume, 'load', '-q', '-i', input.archive);
  return {
    tag: (reference) => layerstack(volume, 'tag', input.id, reference),
    async push(reference) {
      const args = [CLI, '--root', root, 'push', '-q', reference];
      const { memory } = await watched(process.execPath, args, { volume });
      watch.memory = Math.max(watch.memory, memory);
    },
    // Otherwise the program would look for the blobs of the last run's registry.
    forget: () => rmSync(join(root, 'image/overlay2/distribution'), { recursive: true, force: true }),
  };
}

async function dockerdOn(docker, input) {
  await docker('load', '-q', '-i', input.archive);
  return {
    tag: (reference) => docker('tag', input.id, reference),
    push: (reference) => docker('push', '-q', reference),
  };
}

async function podmanOf(podman, input) {
  await podman.load(input.archive);
  return {
    tag: (reference) => podman('tag', input.id, reference),
    push: (reference) => podman('push', '-q', '--tls-verify=false', reference),
  };
}

/**
 * Compresses all bytes on all processors without sending them: with pigz, or with layerstack itself if pigz
 * is missing.
 */
async function leastOf(root, input) {
  const pigz = await sh('pigz', ['--version']).then(
    () => true,
    () => false,
  );
  const files = pigz ? await input.layers() : [];
  return {
    name: pigz ? 'pigz of the layers to /dev/null' : 'the compressor alone, without a registry',
    compress: pigz
      ? () => sh('sh', ['-c', 'for layer; do pigz -c "$layer" >/dev/null; done', 'sh', ...files])
      : () => compressAll(root, input.id),
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

/**
 * Gives each program its own volume, and runs them in turn, so that a slow phase of the machine affects all
 * of them.
 */
export const push = (input, count) =>
  onFreshVolume((ours) =>
    onFreshVolume((theirs) =>
      onFreshVolume((podmans) =>
        withDockerd(join(theirs, 'docker'), async ({ docker }) => {
          const podman = podmanOn(podmans);
          const watch = { memory: 0 };
          try {
            const programs = {
              layerstack: await layerstackOn(ours, input, watch),
              dockerd: await dockerdOn(docker, input),
              podman: await podmanOf(podman, input),
            };
            return await measure(programs, await leastOf(storeOn(ours), input), count, watch);
          } finally {
            await podman.unmount();
          }
        }),
      ),
    ),
  );

async function measure(programs, least, count, watch) {
  const names = Object.keys(programs);
  const measured = Object.fromEntries(names.map((name) => [name, { first: [], again: [], bytes: 0 }]));
  const floor = { values: [] };
  for (let run = 0; run < count; run++) {
    for (const name of names) await twice(programs[name], measured[name]);
    floor.values.push(await timed(least.compress));
  }
  const each = (text) => names.map((name) => `${name} ${text(measured[name])}`).join(', ');
  const notes = [
    `peak memory ${Math.round(watch.memory / 1e6)} MB`,
    `blobs: ${each(({ bytes }) => `${(bytes / 1e6).toFixed(1)} MB`)}`,
    `again, with nothing to send: ${each(({ again }) => `${Math.round(summary(again).median)} ms`)}`,
  ].join('; ');
  const [ours, dockerd, podman] = names.map((name) => ({ values: measured[name].first }));
  return {
    job: '`push`, loopback',
    budget: 1.2,
    floorName: least.name,
    layerstack: { ...ours, notes },
    dockerd,
    podman,
    floor,
  };
}
