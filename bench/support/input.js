/**
 * The image to load: the given docker-archive, or a small generated image. Some rows also need its gzip form,
 * and its layers as files.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { sh } from './measure.js';

/** Generates an image of three layers, about 2,000 entries, 30 MB, for runs without an archive. */
async function makeSmall(scratch) {
  const layers = [];
  for (let number = 0; number < 3; number++) {
    const tree = join(scratch, `small-${number}`);
    for (let directory = 0; directory < 20; directory++) {
      const path = join(tree, `srv/${number}/d${directory}`);
      mkdirSync(path, { recursive: true });
      for (let file = 0; file < 33; file++)
        writeFileSync(join(path, `f${file}`), `file ${directory} ${file}\n`.repeat(40));
    }
    writeFileSync(join(tree, `blob-${number}`), Buffer.alloc(10 << 20, `blob ${number} `));
    const tar = join(scratch, `${number}.tar`);
    // A program, which tests of a mounted root file system run.
    mkdirSync(join(tree, 'bin'));
    await sh('sh', ['-c', 'echo "int main() {}" | cc -static -x c -o "$1" -', 'sh', join(tree, 'bin/true')]);
    await sh('tar', ['-C', tree, '--numeric-owner', '--owner=0', '--group=0', '-cf', tar, '.']);
    layers.push(tar);
  }
  const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
  const config = JSON.stringify({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Cmd: ['/bin/sh'] },
    created: '2020-01-01T00:00:00Z',
    history: layers.map(() => ({ created: '2020-01-01T00:00:00Z', created_by: 'bench' })),
    rootfs: { type: 'layers', diff_ids: layers.map((path) => `sha256:${sha256(readFileSync(path))}`) },
  });
  const configName = `${sha256(config)}.json`;
  writeFileSync(join(scratch, configName), config);
  const names = layers.map((path) => path.slice(scratch.length + 1));
  const manifest = [{ Config: configName, RepoTags: ['layerstack-bench:small'], Layers: names }];
  writeFileSync(join(scratch, 'manifest.json'), JSON.stringify(manifest));
  const archive = join(scratch, 'small-image.tar');
  await sh('tar', ['-C', scratch, '-cf', archive, configName, ...names, 'manifest.json']);
  return archive;
}

/**
 * Writes a docker-archive with the layers compressed one by one. Returns its path, and those of its layers,
 * the largest first.
 */
async function compressLayers(scratch, { archive, config, layers }) {
  const folder = join(scratch, 'gzip-layers');
  mkdirSync(folder);
  const members = layers.map((_, index) => join(folder, `${index}.tar.gz`));
  for (const [index, layer] of layers.entries())
    await sh('sh', ['-c', 'gzip -c "$1" >"$2"', 'sh', layer, members[index]]);
  await sh('tar', ['-C', folder, '-xf', archive, config, 'manifest.json']);
  const [image] = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  const names = members.map((path) => basename(path));
  rmSync(join(folder, 'manifest.json'));
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify([{ ...image, Layers: names }]));
  const target = join(scratch, 'gzip-layers.tar');
  await sh('tar', ['-C', folder, '-cf', target, config, ...names, 'manifest.json']);
  const size = (path) => statSync(path).size;
  return { archive: target, members: [...members].sort((a, b) => size(b) - size(a)) };
}

/** Computes a value on first use. */
function lazy(make) {
  let made;
  return () => (made ??= make());
}

/** Prepares the input in `scratch`. `given` is the path of a docker-archive or undefined. */
export async function prepareInput(scratch, given) {
  const archive = given ?? (await makeSmall(scratch));
  const member = (name) => sh('tar', ['-xOf', archive, name]);
  const [{ Config, Layers, RepoTags }] = JSON.parse(await member('manifest.json'));
  const folder = join(scratch, 'layers');
  mkdirSync(folder);
  const input = {
    archive,
    layerCount: Layers.length,
    /** Every program knows the image by this id. */
    id: await sh('sh', ['-c', 'tar -xOf "$1" "$2" | sha256sum | cut -c 1-64', 'sh', archive, Config]),
    name: RepoTags?.[0] ?? 'untagged',
    /** The layers as files. */
    layers: lazy(async () => {
      await sh('tar', ['-C', folder, '-xf', archive]);
      return Layers.map((name) => join(folder, name));
    }),
    /** The gzip form of the archive. */
    gzip: lazy(async () => {
      const gzip = join(scratch, 'archive.tar.gz');
      await sh('sh', ['-c', 'gzip -c "$1" >"$2"', 'sh', archive, gzip]);
      return gzip;
    }),
    /** The archive with compressed layers. */
    gzipLayers: lazy(async () =>
      compressLayers(scratch, { archive, config: Config, layers: await input.layers() }),
    ),
  };
  return input;
}
