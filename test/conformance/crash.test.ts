/**
 * Commands that are killed at each of their changes to the store's directories, one after the other: the
 * object is unchanged, or it is removed, and the next writer leaves nothing else of it.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

/**
 * Node's own start makes none of these calls. strace counts them in each thread. The first thread that makes
 * its n-th call ends the process.
 */
const CALLS = 'renameat,renameat2,unlinkat';
const MAX_CALLS = 200;

describe.runIf(havePeers('strace'))('killed at any step', () => {
  let fixture: TestStore;
  let cli: LayerstackCli;

  beforeEach(async () => {
    fixture = await TestStore.build();
    await fixture.store.containers.remove(await fixture.store.containers.create(IMAGE)); // marks its layer as a parent, permanently
    await fixture.store.close();
    cli = new LayerstackCli(fixture.root);
  });

  afterEach(() => fixture[Symbol.asyncDispose]());

  /** Runs a command that is killed at its `step`-th change. Returns whether it got that far. */
  async function killed(step: number, ...words: string[]): Promise<boolean> {
    const inject = `inject=${CALLS}:signal=KILL:when=${String(step)}`;
    const ran = await run('strace', [
      ...['-f', '-qq', '-o', '/dev/null', '-e', `trace=${CALLS}`, '-e', inject],
      process.execPath,
      ...cli.argv(...words),
    ]);
    if (ran.status === 0) return false;
    expect(ran.stderr).toBe('');
    return true;
  }

  /** Kills the command at step 1, 2, 3, ... until it ends by itself. */
  async function everyStep(prepare: () => Promise<string[]>, check: () => Promise<void>): Promise<void> {
    for (let step = 1; step < MAX_CALLS; step++) {
      const words = await prepare();
      const again = await killed(step, ...words);
      await fixture.reopen(); // the next writer, with a session of its own where it has layers to remove
      await fixture.reopen();
      try {
        expect(readdirSync(fixture.at('layerstack/sessions'))).toEqual([]);
        await check();
      } finally {
        await fixture.store.close();
      }
      if (!again) return;
    }
    throw new Error('the command never ended by itself');
  }

  test('rm: the container is complete and has its name, or is removed', async () => {
    const before = await dumpStore(fixture.root);
    await everyStep(
      async () => {
        const id = await cli.run('create', '--name', 'build', IMAGE);
        writeFileSync(fixture.at(`overlay2/${mountId(id)}/diff/new`), 'content');
        return ['rm', 'build'];
      },
      async () => {
        const [container] = await fixture.store.containers.list();
        if (container === undefined) {
          expect(await storeChanges(fixture.root, before)).toEqual([]);
          // The name is free.
          await fixture.store.containers.remove(
            await fixture.store.containers.create(IMAGE, { name: 'build' }),
          );
          return;
        }
        expect((await fixture.store.containers.get('build')).id).toBe(container.id);
        const mount = await fixture.store.containers.mount('build');
        expect(existsSync(join(mount.path, 'new'))).toBe(true);
        await mount.unmount();
        await fixture.store.containers.remove('build');
        await expect(fixture.store.containers.get('build')).rejects.toMatchObject({
          code: 'ERR_CONTAINER_NOT_FOUND',
        });
      },
    );
  });

  test('commit: an I/O error while the layer is made fails it, though a later sync would not report the error', async () => {
    const id = await cli.run('create', '--name', 'build', IMAGE);
    const upper = fixture.at(`overlay2/${mountId(id)}/diff`);
    // Enough for a sync before the layer is complete, under strace.
    for (let file = 0; file < 5000; file++) writeFileSync(join(upper, `f${String(file)}`), 'content');
    const before = await dumpStore(fixture.root);
    const log = join(fixture.scratch, 'strace');
    const ran = await run('strace', [
      ...['-f', '-qq', '-o', log, '-e', 'trace=syncfs', '-e', 'inject=syncfs:error=EIO:when=1'],
      process.execPath,
      ...cli.argv('commit', 'build', 'made:1'),
    ]);
    expect(ran.stderr).toMatch(/^layerstack: ERR_SYSTEM: EIO: i\/o error, syncfs .*\n$/);
    expect(ran.status).toBe(1);
    expect(readFileSync(log, 'utf8').match(/syncfs\(/g)).toHaveLength(1);
    await fixture.reopen();
    await fixture.store.close();
    expect(await storeChanges(fixture.root, before)).toEqual([]);
  });

  test('commit: the image is complete, or does not exist', async () => {
    const id = await cli.run('create', '--name', 'build', IMAGE);
    writeFileSync(fixture.at(`overlay2/${mountId(id)}/diff/new`), 'content');
    const base = (await cli.inspect(IMAGE))['Id'];
    const before = await dumpStore(fixture.root);
    await everyStep(
      () => Promise.resolve(['commit', 'build', 'made:1']),
      async () => {
        const made = (await fixture.store.images.list({ all: true })).filter(({ Id }) => Id !== base);
        for (const { Id } of made) {
          for await (const chunk of fixture.store.images.save(Id)) void chunk;
          await fixture.store.images.remove(Id, { force: true });
        }
        await fixture.store.images.prune();
        await fixture.store.close();
        // The names were written, and removed again.
        const changes = (await storeChanges(fixture.root, before)).filter(
          (change) => !change.startsWith('image/overlay2/repositories.json: mtime'),
        );
        expect(changes).toEqual([]);
        await fixture.reopen();
      },
    );
  });

  function mountId(id: string): string {
    return fixture.text(`image/overlay2/layerdb/mounts/${id}/mount-id`);
  }
});
