/**
 * A docker-archive as `docker save` writes it: a tar with `manifest.json`, the image config, and a tar for each layer.
 */
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';

/**
 * A file, or a symlink where `linkname` is given.
 * @typedef {{ name: string, content?: string | Buffer, linkname?: string, mode?: number }} Member
 */

/** @param {{ reference: string, command: string[], layers: { name: string, members: Member[] }[] }} image */
export async function dockerArchive({ reference, command, layers }) {
  const tars = await Promise.all(layers.map(({ members }) => tarOf(members)));
  const created = new Date().toISOString();
  const config = JSON.stringify({
    architecture: { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' }[process.arch] ?? process.arch,
    config: { Cmd: command, Env: ['PATH=/bin:/usr/bin:/sbin:/usr/sbin'], WorkingDir: '/house' },
    created,
    history: layers.map(({ name }) => ({ created, created_by: `layerstack quickstart: ${name}` })),
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: tars.map((bytes) => `sha256:${sha256(bytes)}`) },
  });
  const configName = `${sha256(config)}.json`;
  const layerNames = tars.map((bytes) => `${sha256(bytes)}/layer.tar`);
  const manifest = [{ Config: configName, RepoTags: [reference], Layers: layerNames }];
  return tarOf([
    ...tars.map((content, index) => ({ name: layerNames[index], content })),
    { name: configName, content: config },
    { name: 'manifest.json', content: `${JSON.stringify(manifest)}\n` },
  ]);
}

/** @param {Member[]} members */
async function tarOf(members) {
  const pack = tar.pack();
  const mtime = new Date();
  for (const name of parents(members))
    pack.entry({ name: `${name}/`, type: 'directory', mode: 0o755, mtime });
  for (const { name, content = '', linkname, mode = 0o644 } of members) {
    if (linkname) pack.entry({ name, type: 'symlink', linkname, mode: 0o777, mtime });
    else pack.entry({ name, mode, mtime }, content);
  }
  pack.finalize();
  return buffer(pack);
}

/** The directories that hold the members, outermost first. */
function parents(members) {
  const directories = new Set();
  for (const { name } of members)
    for (let parent = posix.dirname(name); parent !== '.'; parent = posix.dirname(parent))
      directories.add(parent);
  return [...directories].sort();
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
