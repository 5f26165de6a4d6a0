/**
 * Makes a docker-archive as `docker save` writes it: a tar with `manifest.json`, the image config, and a tar
 * for each layer.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-fs';

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

/**
 * Writes the members to a directory and packs it with tar-fs.
 * @param {Member[]} members
 */
async function tarOf(members) {
  const directory = await mkdtemp(join(tmpdir(), 'layerstack-quickstart-'));
  try {
    for (const { name, content = '', linkname, mode = 0o644 } of members) {
      const path = join(directory, name);
      await mkdir(dirname(path), { recursive: true });
      if (linkname) await symlink(linkname, path);
      else await writeFile(path, content, { mode });
    }
    const map = (header) => ({ ...header, name: header.name === '.' ? './' : header.name, uid: 0, gid: 0 });
    return await buffer(tar.pack(directory, { map, sort: true }));
  } finally {
    await rm(directory, { recursive: true });
  }
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
