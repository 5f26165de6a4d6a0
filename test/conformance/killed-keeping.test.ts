/**
 * Commands that keep data beside an image, or write outside of the store, killed at their calls: the next
 * writer leaves no compressed layer that no manifest names, no temporary file and no mount; `fsck` names
 * these until then.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { Injector, type Injected } from '../support/inject.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { Registry } from '../support/registry.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { chunks, archiveOfMembers, TestStore, LAYERS } from '../support/test-store.ts';

/** Every n-th of each command's calls is tried. */
const STRIDE = process.env['LAYERSTACK_EVERY_CALL'] === '1' ? 1 : 5;
const SEVERAL = 4;

describe.runIf(havePeers('cc', 'docker-registry'))('killed at any call', () => {
  let fixture: TestStore;
  let injector: Injector;
  let registry: Registry;
  let image: string;
  /**
   * A store to copy: a container `build` of an image with a volume, and a catalog of images that is out of
   * date.
   */
  let template: string;

  beforeAll(async () => {
    registry = await Registry.start();
    image = `${registry.host}/app:1`;
    fixture = await TestStore.build(
      archiveOfMembers(LAYERS, { Cmd: ['/bin/true'], Volumes: { '/house': {} } }, image),
    );
    await fixture.store.registry.push(image);
    await fixture.store.containers.create(image, { name: 'build' });
    await (await fixture.store.containers.mount('build')).unmount();
    await fixture.store.images.list();
    await fixture.store.images.load(
      chunks(archiveOfMembers([...LAYERS, [{ name: 'new', content: 'new' }]], {}, 'new:1')),
    );
    await fixture.store.close();
    template = fixture.root;
    injector = await Injector.build(fixture.scratch);
  });

  afterAll(async () => {
    await registry.stop();
    await fixture[Symbol.asyncDispose]();
  });

  interface Run {
    readonly directory: string;
    readonly root: string;
    readonly out: string;
  }

  /** Kills the command at its calls, one after the other, and checks its leftovers. */
  async function killed(words: (run: Run) => string[], look: (run: Run, call: string) => Promise<void>) {
    let calls = 0;
    for (let at = 0; at <= calls; at += STRIDE) {
      const directory = makeScratch('killed');
      const run = { directory, root: join(directory, 'store'), out: join(directory, 'out') };
      try {
        await must('cp', ['-a', template, run.root]);
        mkdirSync(run.out);
        const ran: Injected = await injector.run(new LayerstackCli(run.root).argv(...words(run)), directory, {
          at,
        });
        if (at === 0) {
          expect(ran).toMatchObject({ status: 0 });
          calls = ran.calls.length;
          expect(calls).toBeGreaterThan(SEVERAL * STRIDE);
        } else expect(ran.signal).toBe('SIGKILL');
        await look(run, ran.calls.at(-1) ?? '');
      } finally {
        await dropScratch(directory);
      }
    }
  }

  /** Returns the findings of `fsck` before the next writer; then runs that writer. */
  async function next({ root }: Run): Promise<string[]> {
    const said: string[] = [];
    {
      await using store = await Layerstack.open({ root, readOnly: true });
      for await (const { path } of store.fsck()) said.push(path);
    }
    await (await Layerstack.open({ root })).close();
    return said;
  }

  const temporaries = (directory: string): string[] =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(
      (path) => /(?:^|\/)\.tmp-|\.tmp$/.test(path) && !path.includes('/merged/'),
    );

  const entries = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

  test('pull --keep-blobs: blobs that no manifest names are removed', async () => {
    let seen = 0;
    await killed(
      () => ['pull', '--keep-blobs', image],
      async (run, call) => {
        const blobs = join(run.root, 'layerstack/blobs/sha256');
        const manifests = join(run.root, 'layerstack/manifests');
        const before = entries(blobs);
        const said = await next(run);
        if (before.length > 0 && entries(blobs).length === 0) {
          seen++;
          expect(said, call).toContain('layerstack/blobs/sha256');
        }
        const named = entries(manifests).flatMap((id) =>
          entries(join(manifests, id)).map((file) => readFileSync(join(manifests, id, file), 'utf8')),
        );
        expect(named.length, call).toBe(entries(manifests).length);
        for (const blob of entries(blobs)) expect(named.join(), call).toContain(blob);
        expect(temporaries(run.root), call).toEqual([]);
        expect(readdirSync(join(run.root, 'layerstack/sessions')), call).toEqual([]);
      },
    );
    expect(seen).toBeGreaterThan(1);
  });

  test('pull --all-platforms: the next pull resumes, and leaves only the layout', async () => {
    await killed(
      ({ out }) => ['pull', '--all-platforms', out, image],
      async (run, call) => {
        const cli = new LayerstackCli(run.root);
        await cli.run('pull', '--all-platforms', run.out, image);
        expect(readdirSync(run.out).sort(), call).toEqual(['blobs', 'index.json', 'oci-layout']);
        expect(temporaries(run.out), call).toEqual([]);
      },
    );
  });

  test('bundle: it exists, or the container is not mounted; no temporary file stays', async () => {
    await killed(
      ({ out }) => ['bundle', 'build', join(out, 'bundle')],
      async (run, call) => {
        await next(run);
        if (mountsBelow(run.directory).length > 0)
          expect(entries(join(run.out, 'bundle')), call).toContain('config.json');
        expect(temporaries(run.directory), call).toEqual([]);
        expect(readdirSync(join(run.root, 'layerstack/sessions')), call).toEqual([]);
      },
    );
  });

  test('images: no draft of its catalog stays', async () => {
    await killed(
      () => ['images'],
      async (run, call) => {
        await next(run);
        expect(temporaries(run.root), call).toEqual([]);
      },
    );
  });
});
