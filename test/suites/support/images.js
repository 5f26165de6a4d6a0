/**
 * The images that the suites pull by their names on docker.io. They are built here from a static busybox and
 * pushed to a registry on loopback. The suites test how an engine handles images; the content does not
 * matter.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, readProgram } from './run.js';

/** Applets that the suites' commands use. */
const APPLETS = (
  'sh echo printf true false top sleep cat ls touch uname env id ps tail head wc dd mkdir rm uptime hostname ' +
  'ip ping wget nc stty'
).split(' ');

/** Writes an OCI layout of one image below `directory`. @returns its path in skopeo's form. */
async function layout(directory, { label, architecture = 'amd64' }) {
  const tree = join(directory, 'tree');
  mkdirSync(join(tree, 'bin'), { recursive: true });
  for (const name of ['dev', 'etc', 'proc', 'root', 'sys', 'tmp'])
    mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(join(tree, 'bin/busybox'), readProgram('busybox'), { mode: 0o755 });
  writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(tree, 'etc/image'), `${label}\n`);
  for (const applet of APPLETS) await run('ln', ['-sf', 'busybox', join(tree, 'bin', applet)]);
  writeFileSync(join(tree, 'bin/bash'), '#!/bin/sh\nexec sh "$@"\n', { mode: 0o755 });
  const layer = join(directory, 'layer.tar');
  await run('tar', ['--numeric-owner', '--sort=name', '--mtime=@0', '-cf', layer, '-C', tree, '.']);
  await run('gzip', ['-knf', layer]);

  const blobs = join(directory, 'oci/blobs/sha256');
  mkdirSync(blobs, { recursive: true });
  const put = (bytes) => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(blobs, hex), bytes);
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const tar = put(readProgram(layer));
  const config = put(
    Buffer.from(
      JSON.stringify({
        architecture,
        os: 'linux',
        created: '2024-01-01T00:00:00Z',
        config: { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] },
        rootfs: { type: 'layers', diff_ids: [tar.digest] },
        history: [{ created: '2024-01-01T00:00:00Z', created_by: `/bin/sh -c #(nop) ${label}` }],
      }),
    ),
  );
  const manifest = put(
    Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
        layers: [
          { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...put(readProgram(`${layer}.gz`)) },
        ],
      }),
    ),
  );
  const descriptor = { mediaType: 'application/vnd.oci.image.manifest.v1+json', ...manifest };
  writeFileSync(
    join(directory, 'oci/index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }),
  );
  writeFileSync(join(directory, 'oci/oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  return `oci:${join(directory, 'oci')}`;
}

/**
 * Pushes an image for each name to the registry at `host`.
 * @param names - `NAME:TAG` as on docker.io, without `library/`; a suffix `@ARCH` selects the architecture.
 */
export async function publish(directory, host, names) {
  for (const [index, name] of names.entries()) {
    const [reference, architecture] = name.split('@');
    const folder = join(directory, `image-${index}`);
    mkdirSync(folder);
    const source = await layout(folder, { label: reference, architecture });
    const target = `docker://${host}/${reference.includes('/') ? reference : `library/${reference}`}`;
    await run('skopeo', ['--insecure-policy', 'copy', '-q', '--dest-tls-verify=false', source, target]);
  }
}
