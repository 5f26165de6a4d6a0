/**
 * Images that a dockerd builds offline: `fx/base:1` (busybox), `fx/whole:1` (everything that a layer can
 * hold, in several layers) and `fx/deep:125` (as many layers as dockerd allows).
 */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Dockerd } from '../../support/dockerd.ts';
import { must } from '../../support/process.ts';
import { dropScratch, makeScratch } from '../../support/scratch.ts';
import { findProgram } from '../../support/peers.ts';

const LONG = 'long-name-'.repeat(20); // 200 bytes: no ustar name or prefix holds a path of several

/** The shell commands of the layers of `fx/whole:1`, in order. */
const STEPS = [
  [
    'mkdir -p /data/opaque/inner /data/gone/deep /data/links /data/modes /data/nodes /data/names /data/kinds/dir',
    'echo lower > /data/opaque/lower && echo inner > /data/opaque/inner/file',
    'echo gone > /data/gone/deep/file && echo gone > /data/gone.file && echo first > /data/again',
    'echo linked > /data/links/a && ln /data/links/a /data/links/b && ln -s a /data/links/soft',
    'ln -s /data/names /data/links/dir && ln -s ../../../../etc /data/links/up && ln -s nowhere /data/links/dangling',
    'echo s > /data/modes/setuid && chmod 4755 /data/modes/setuid',
    'echo g > /data/modes/setgid && chmod 2711 /data/modes/setgid',
    'mkdir /data/modes/sticky && chmod 1777 /data/modes/sticky && echo n > /data/modes/none && chmod 0 /data/modes/none',
    'echo big > /data/modes/ids && chown 3000000:4000000000 /data/modes/ids && chown 1000:1001 /data/modes/sticky',
    'mknod /data/nodes/char c 5 300 && mknod /data/nodes/block b 300 77 && mkfifo /data/nodes/fifo && chmod 620 /data/nodes/char',
    `mkdir -p /data/names/${LONG}/${LONG} && echo long > /data/names/${LONG}/${LONG}/${LONG} && ln -s /${LONG}/${LONG} /data/names/longlink`,
    'echo 8 > "/data/names/latin1-$(printf \'\\344\\366\')" && mkdir "/data/names/$(printf \'\\377\\376\')" && echo u > /data/names/ünïcödé',
    'echo q > "/data/names/<&>\'quote\' \\\\ $(printf \'\\n\')x" && echo e > "/data/names/ends "',
    'echo f > /data/kinds/file && echo d > /data/kinds/dir/content && ln -s dir /data/kinds/link && touch -d @1 /data/kinds/file',
  ],
  [
    'rm -rf /data/opaque && mkdir /data/opaque && echo upper > /data/opaque/upper',
    'rm -rf /data/gone && rm /data/gone.file && rm /data/again && echo second > /data/again',
    'rm /data/kinds/file && mkdir /data/kinds/file && echo now > /data/kinds/file/inside',
    'rm -rf /data/kinds/dir && echo file > /data/kinds/dir && rm /data/kinds/link && mkdir /data/kinds/link',
    'chmod 700 /data/modes && chown 7:8 /data/names',
  ],
  [
    'ln /data/links/a /data/links/c && echo changed >> /data/links/b',
    'echo upper-of-link > /data/links/dir/through && rm /data/modes/none && mkdir -p /data/gone/back',
    'printf "root:x:0:0:root:/root:/bin/sh\\napp:x:1234:5678:app:/srv:/bin/sh\\n" > /etc/passwd',
    'printf "root:x:0:\\napp:x:5678:\\nmore:x:9999:app\\n" > /etc/group && mkdir -p /srv && chown app:app /srv',
  ],
];

/** Builds the images on a running daemon. It takes about 20 seconds with `deep`. */
export async function buildImages(daemon: Dockerd, options: { deep: boolean }): Promise<void> {
  const scratch = makeScratch('images');
  try {
    await importBase(daemon, scratch);
    await buildWhole(daemon, scratch);
    if (options.deep) await buildDeep(daemon, scratch);
  } finally {
    await dropScratch(scratch);
  }
}

async function importBase(daemon: Dockerd, scratch: string): Promise<void> {
  const root = join(scratch, 'base');
  for (const path of ['bin', 'etc', 'tmp', 'root']) mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, 'etc/hosts'), '10.0.0.1 from-the-image\n'); // an init layer covers it
  const busybox = findProgram('busybox');
  if (!busybox) throw new Error('busybox-static is needed to build images');
  copyFileSync(busybox, join(root, 'bin/busybox'));
  for (const applet of (await must(busybox, ['--list'])).split('\n'))
    if (applet && applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
  await must('tar', ['-C', root, '--numeric-owner', '-cf', join(scratch, 'base.tar'), '.']);
  await daemon.docker('import', join(scratch, 'base.tar'), 'fx/base:1');
}

async function buildWhole(daemon: Dockerd, scratch: string): Promise<void> {
  const context = join(scratch, 'whole');
  mkdirSync(context);
  STEPS.forEach((lines, index) =>
    writeFileSync(join(context, `step${String(index)}.sh`), `set -e\n${lines.join('\n')}\n`),
  );
  // ADD of a tar preserves its security.capability, which no tool of the base image could set.
  await must('python3', [fileURLToPath(new URL('caps.py', import.meta.url)), join(context, 'caps.tar')]);
  writeFileSync(
    join(context, 'Dockerfile'),
    [
      'FROM fx/base:1',
      'COPY step0.sh step1.sh step2.sh /',
      'RUN sh /step0.sh',
      'ADD caps.tar /data/',
      'RUN sh /step1.sh',
      'ENV GREETING="hello <&> world" EMPTY=',
      'RUN sh /step2.sh',
      'LABEL maker=tests "odd key"="a=b"',
      'EXPOSE 80/tcp 53/udp',
      'VOLUME /srv/volume',
      'WORKDIR /srv',
      'USER app',
      'STOPSIGNAL SIGQUIT',
      'ENTRYPOINT ["/bin/sh","-c"]',
      'CMD ["echo $GREETING; id -u; pwd; cat /data/again /data/links/b /data/opaque/upper; ls /data /data/opaque"]',
      '',
    ].join('\n'),
  );
  await daemon.docker(
    'build',
    '-q',
    '--network',
    'none',
    '-t',
    'fx/whole:1',
    '-t',
    'fx/whole:second',
    context,
  );
}

async function buildDeep(daemon: Dockerd, scratch: string): Promise<void> {
  const context = join(scratch, 'deep');
  mkdirSync(context);
  writeFileSync(join(context, 'f'), 'one of many\n');
  const layers = Array.from({ length: 124 }, (_, index) => `ADD f /d/${String(index)}`);
  writeFileSync(
    join(context, 'Dockerfile'),
    // CMD comes first: it creates a container, which would need a 126th layer at the end.
    ['FROM fx/base:1', 'CMD ["/bin/ls","/d"]', ...layers, ''].join('\n'),
  );
  await daemon.docker('build', '-q', '--network', 'none', '-t', 'fx/deep:125', context);
}
