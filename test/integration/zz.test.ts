import { Registry } from '../support/registry.ts';
import { Dockerd } from '../support/dockerd.ts';
import { makeScratch, dropScratch } from '../support/scratch.ts';
import { run, must } from '../support/process.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { writeFileSync } from 'node:fs';
import { it } from 'vitest';
it('x', async () => {
  const scratch = makeScratch('try');
  const registry = await Registry.start();
  const img = imageOf([layerOf({ a: 'x'.repeat(100000) }), layerOf({ b: 'y' })], { tags: ['t/a:1'] });
  const img2 = imageOf([layerOf({ a: 'x'.repeat(100000) }), layerOf({ c: 'y' })], { tags: ['t/a:2'] });
  writeFileSync(`${scratch}/a.tar`, tar(dockerArchive([img, img2])));
  const d = await Dockerd.start(`${scratch}/docker`);
  try {
    await d.docker('load', '-i', `${scratch}/a.tar`);
    for (const t of ['1', '2']) {
      await d.docker('tag', `t/a:${t}`, `${registry.host}/t/a:${t}`);
      console.log(await d.docker('push', `${registry.host}/t/a:${t}`));
    }
    await d.docker('rmi', '-f', 't/a:1', 't/a:2', `${registry.host}/t/a:1`, `${registry.host}/t/a:2`);
    const dg = JSON.parse(
      await must('skopeo', ['inspect', '--tls-verify=false', `docker://${registry.host}/t/a:2`]),
    ).Digest;
    for (const args of [
      ['pull', `${registry.host}/t/a:1`],
      ['pull', `${registry.host}/t/a:1`],
      ['pull', `${registry.host}/t/a@${dg}`],
      ['pull', `${registry.host}/t/a:2@${dg}`],
      ['pull', '-a', `${registry.host}/t/a`],
      ['pull', '-q', `${registry.host}/t/a` + ':1'],
    ]) {
      const r = await d.try(...args);
      console.log('$ docker', args.join(' '), '\n' + r.stdout, r.stderr);
      const o = await run(process.execPath, [
        '/work/wt/pull/dist/app/cli/main.js',
        '--root',
        `${scratch}/ls`,
        ...args,
      ]);
      console.log('$ layerstack\n' + o.stdout, 'STDERR', o.stderr);
    }
    console.log(await d.docker('images', '--digests'));
    console.log(
      (
        await run(process.execPath, [
          '/work/wt/pull/dist/app/cli/main.js',
          '--root',
          `${scratch}/ls`,
          'images',
          '--digests',
        ])
      ).stdout,
    );
    console.log(
      await must('sh', [
        '-c',
        `cd ${scratch}/docker/image/overlay2; cat repositories.json; echo; find distribution -printf '%m %p %s\n' | sort -k2; cat distribution/v2meta*/*/*; echo; cd ${scratch}/ls/image/overlay2; cat repositories.json; echo; find distribution -printf '%m %p %s\n' | sort -k2;  cat distribution/v2meta*/*/*`,
      ]),
    );
  } finally {
    await d.stop();
    await registry.stop();
    await dropScratch(scratch);
  }
}, 300000);
