/** The service's metrics, as Prometheus' own linter judges them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { ServiceProcess } from '../support/service-process.ts';
import { tar } from '../support/tar.ts';

describe.runIf(havePeers('promtool'))('metrics', () => {
  test('satisfy promtool check metrics', async () => {
    const directory = makeScratch('metrics');
    onTestFinished(() => dropScratch(directory));
    await using service = await ServiceProcess.start(directory);
    await service.send(
      'POST',
      '/images/load',
      tar(dockerArchive([imageOf([layerOf([{ name: 'a', content: 'a' }])], { tags: ['t/a:1'] })])),
    );
    await service.send('GET', '/metrics');
    const { text } = await service.send('GET', '/metrics');
    const file = join(directory, 'metrics');
    writeFileSync(file, text);
    const { status, stdout, stderr } = await run('sh', [
      '-c',
      'exec promtool check metrics <"$1"',
      '-',
      file,
    ]);
    expect({ status, said: stdout + stderr }).toEqual({ status: 0, said: '' });
  });
});
