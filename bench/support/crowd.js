/**
 * A store with many small images, written directly to disk in dockerd's format. Every image has ten layers of
 * its own, with one file each.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const LAYERS = 10;
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/**
 * Writes `images` images into a store that was opened once. 10,000 layers take about a minute, depending on
 * the machine.
 */
export function crowd(root, images) {
  const names = {};
  for (let image = 0; image < images; image++) {
    const diffIds = [];
    let parent;
    const lowers = [];
    for (let layer = 0; layer < LAYERS; layer++) {
      const diffId = `sha256:${sha256(`${image} ${layer}`)}`;
      diffIds.push(diffId);
      const chain = parent === undefined ? diffId.slice(7) : sha256(`sha256:${parent} ${diffId}`);
      const cacheId = randomBytes(32).toString('hex');
      const link = sha256(cacheId)
        .toUpperCase()
        .replace(/[0189]/g, 'A')
        .slice(0, 26);
      const overlay = join(root, 'overlay2', cacheId);
      mkdirSync(join(overlay, 'diff'), { recursive: true });
      writeFileSync(join(overlay, 'diff', `file-${layer}`), 'content');
      writeFileSync(join(overlay, 'link'), link);
      symlinkSync(`../${cacheId}/diff`, join(root, 'overlay2/l', link));
      if (lowers.length > 0) {
        mkdirSync(join(overlay, 'work'));
        writeFileSync(join(overlay, 'lower'), lowers.join(':'));
      }
      if (layer < LAYERS - 1) writeFileSync(join(overlay, 'committed'), '');
      lowers.unshift(`l/${link}`);
      const entry = join(root, 'image/overlay2/layerdb/sha256', chain);
      mkdirSync(entry);
      const files = { 'cache-id': cacheId, diff: diffId, size: '7', 'tar-split.json.gz': gzipSync('') };
      for (const [name, text] of Object.entries(files)) writeFileSync(join(entry, name), text);
      if (parent !== undefined) writeFileSync(join(entry, 'parent'), `sha256:${parent}`);
      parent = chain;
    }
    const created = new Date(1_600_000_000_000 + image * 60_000).toISOString();
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      created,
      config: { Cmd: ['/bin/sh'], Labels: { number: String(image) } },
      history: diffIds.map((_, layer) => ({ created, created_by: `step ${layer} of ${image}` })),
      rootfs: { type: 'layers', diff_ids: diffIds },
    });
    const id = sha256(config);
    writeFileSync(join(root, 'image/overlay2/imagedb/content/sha256', id), config, { mode: 0o600 });
    names[`crowd/${image}`] = { [`crowd/${image}:latest`]: `sha256:${id}` };
  }
  const repositories = JSON.stringify({ Repositories: names });
  writeFileSync(join(root, 'image/overlay2/repositories.json'), repositories, { mode: 0o600 });
}
