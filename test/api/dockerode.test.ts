/** dockerode, the client of Node programs, in a program of its own. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { tar } from '../support/tar.ts';
import { TestService } from '../support/test-service.ts';

const PROGRAM = fileURLToPath(new URL('./dockerode/program.mjs', import.meta.url));

it('dockerode works unchanged', async () => {
  await using service = await TestService.start();
  const registry = havePeers('docker-registry') ? await Registry.start() : undefined;
  try {
    const image = imageOf([layerOf({ base: 'base' })], { tags: ['app:1'] });
    const [archive, rootFs] = [join(service.scratch, 'app.tar'), join(service.scratch, 'root.tar')];
    writeFileSync(archive, tar(dockerArchive([image])));
    writeFileSync(rootFs, tar([{ name: 'etc/x', content: 'x' }]));
    const output = await must(process.execPath, [
      PROGRAM,
      service.socket,
      archive,
      rootFs,
      registry?.host ?? '',
    ]);
    const result = JSON.parse(output) as Record<string, unknown>;
    const one = [expect.objectContaining({ Id: image.id, RepoTags: ['app:1'] })];
    expect(result).toMatchObject({
      ping: 'OK',
      loaded: [{ stream: 'Loaded image: app:1\n' }],
      list: one,
      filtered: one,
      inspect: { Id: image.id, Os: 'linux', RootFS: { Type: 'layers' } },
      history: [{ Id: image.id }],
      tagged: ['app:1', 'host.example:5000/x/y:2'],
      imported: [{ status: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as string }],
      missing: { statusCode: 404, json: { message: 'No such image: nothing:1' } },
      searched: { statusCode: 501 },
      started: { statusCode: 501 },
      removed: expect.arrayContaining([{ Untagged: 'imported:1' }]) as unknown,
      pruned: { ImagesDeleted: null, SpaceReclaimed: 0 },
    });
    expect(result['saved']).toBeGreaterThan(5000);
    expect(result['savedBoth']).toBeGreaterThan(5000);
    if (!registry) return;
    expect(result).toMatchObject({
      pushed: expect.arrayContaining([
        expect.objectContaining({ aux: expect.objectContaining({ Tag: '1' }) as object }),
      ]) as unknown,
      pulled: expect.arrayContaining([
        expect.objectContaining({ status: expect.stringMatching(/^Status: .*\/d\/app:1$/) as string }),
      ]) as unknown,
      distribution: { Platforms: [{ architecture: 'amd64', os: 'linux' }] },
    });
  } finally {
    await registry?.stop();
  }
});
