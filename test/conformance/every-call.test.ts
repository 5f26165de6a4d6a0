/**
 * Commands in which a call that changes the store or their output kills them or fails. After a kill the next
 * writer leaves the old state or the new one, and nothing else; until then `fsck` names the leftovers. After
 * an error the exit status says which state it is. An interrupted call is repeated.
 */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Layerstack } from '../../src/app/layerstack.ts';
import { archiveOfMembers, chunks, TestStore, IMAGE } from '../support/test-store.ts';
import { Injector, type Errno, type Injected } from '../support/inject.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';

/** This many of each command's calls are tried, evenly spread; all of them on request. */
const POINTS = process.env['LAYERSTACK_EVERY_CALL'] === '1' ? Infinity : 16;

interface Case {
  /** `OUT` stands for a directory of the host, `FILES` for one with files. */
  readonly words: readonly string[];
  /** Commands before it. */
  readonly before?: readonly (readonly string[])[];
}

const CASES: Readonly<Record<string, Case>> = {
  create: { words: ['create', '--name', 'made', IMAGE] },
  rm: { words: ['rm', 'build'] },
  mount: { words: ['mount', 'other'] },
  unmount: { words: ['unmount', 'other'], before: [['mount', 'other']] },
  cp: { words: ['cp', 'FILES/one', 'build:/one'] },
  'load --packed': { words: ['load', '-q', '--packed', '-i', 'FILES/packed.tar'] },
  'save -o': { words: ['save', '-q', '-o', 'OUT/archive.tar', IMAGE] },
};

/** A docker-archive of an image with two layers. */
const archiveOf = (name: string): Buffer =>
  archiveOfMembers([[{ name, content: name }], [{ name: `.wh.${name}`, content: '' }]], {}, `${name}:1`);

describe.runIf(havePeers('cc'))('at any call', () => {
  let fixture: TestStore;
  let injector: Injector;
  /** A store to copy. */
  let template: string;

  beforeAll(async () => {
    fixture = await TestStore.build();
    for (const name of ['build', 'other']) await fixture.store.containers.create(IMAGE, { name });
    await using mount = await fixture.store.containers.mount('build');
    writeFileSync(join(mount.path, 'new'), 'content');
    await mount.unmount();
    for (const name of ['build', 'other']) await (await fixture.store.containers.mount(name)).unmount(); // makes overlayfs write its marks, once
    // Its directories are in the store before: an image that is not loaded leaves no others.
    await fixture.store.images.load(chunks(archiveOf('known')), { form: 'packed' });
    await fixture.store.close();
    template = fixture.root;
    mkdirSync(join(fixture.scratch, 'files'));
    writeFileSync(join(fixture.scratch, 'files/one'), 'one');
    writeFileSync(join(fixture.scratch, 'files/packed.tar'), archiveOf('packed'));
    injector = await Injector.build(fixture.scratch);
  });

  afterAll(() => fixture[Symbol.asyncDispose]());

  /** A copy of the store, and a directory beside it, for one run. */
  class Run {
    readonly directory = makeScratch('call');
    readonly root = join(this.directory, 'store');
    readonly #case: Case;

    private constructor(it: Case) {
      this.#case = it;
    }

    static async of(it: Case): Promise<Run> {
      const made = new Run(it);
      await must('cp', ['-a', template, made.root]);
      mkdirSync(join(made.directory, 'out'));
      const cli = new LayerstackCli(made.root);
      for (const words of it.before ?? []) await cli.run(...words);
      return made;
    }

    start(at: number, errno?: Errno): Promise<Injected> {
      const words = this.#case.words.map((word) =>
        word.replace('OUT', join(this.directory, 'out')).replace('FILES', join(fixture.scratch, 'files')),
      );
      const args = new LayerstackCli(this.root).argv(...words);
      return injector.run(args, this.directory, { at, ...(errno && { errno }) });
    }

    /** Returns the state after the next writer, without random names. */
    async shape(): Promise<string[]> {
      await (await Layerstack.open({ root: this.root })).close();
      return this.look();
    }

    look(): string[] {
      const paths = readdirSync(this.directory, { recursive: true, encoding: 'utf8' })
        .filter(
          (path) => !/^store\/(?:layerstack\/(?:locks|image-catalog)|overlay2\/\w+\/merged\/)/.test(path),
        )
        .map(plain);
      const mounts = mountsBelow(this.directory).map(
        (path) => `mount ${plain(path.slice(this.directory.length))}`,
      );
      return [...paths, ...mounts].sort();
    }

    /** Returns the problems that `fsck` reports. */
    async wrong(): Promise<string[]> {
      await using store = await Layerstack.open({ root: this.root, readOnly: true });
      const found: string[] = [];
      for await (const { path, message } of store.fsck()) found.push(`${path}: ${message}`);
      return found;
    }

    async [Symbol.asyncDispose](): Promise<void> {
      await dropScratch(this.directory);
    }
  }

  function plain(path: string): string {
    return path
      .replace(/(overlay2|mounts|containers)\/[0-9a-f]{64}/, '$1/ID')
      .replace(/overlay2\/l\/[A-Z2-7]{26}/, 'overlay2/l/LINK')
      .replace(/sessions\/[0-9a-f]{16}/, 'sessions/SESSION');
  }

  interface States {
    readonly before: readonly string[];
    readonly after: readonly string[];
    readonly calls: readonly string[];
  }

  async function states(it: Case): Promise<States> {
    await using untouched = await Run.of(it);
    const before = await untouched.shape();
    await using done = await Run.of(it);
    const ran = await done.start(0);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const left = done.look();
    const after = await done.shape();
    expect(left).toEqual(after);
    return { before, after, calls: ran.calls };
  }

  function* points({ calls }: States): Generator<{ readonly at: number; readonly call: string }> {
    const step = Math.max(1, calls.length / POINTS);
    for (let at = 1; at <= calls.length; at += step) {
      const number = Math.floor(at);
      yield { at: number, call: `${String(number)} ${calls[number - 1] ?? ''}` };
    }
  }

  const same = (a: readonly string[], b: readonly string[]): boolean => a.join('\n') === b.join('\n');

  /** Returns the changes in a readable form. */
  function difference(found: readonly string[], { before, after }: States): string {
    const from = (wanted: readonly string[]) =>
      [
        ...found.filter((path) => !wanted.includes(path)).map((path) => `+${path}`),
        ...wanted.filter((path) => !found.includes(path)).map((path) => `-${path}`),
      ].join(' ');
    return `from before: ${from(before)}; from after: ${from(after)}`;
  }

  test('a mount call that fails is an error, and layerstack does not try another mount method', async () => {
    const it = CASES['mount'] as Case;
    const { calls } = await states(it);
    const errnos: readonly Errno[] = ['EIO', 'EMFILE', 'ENOSPC', 'ENOMEM'];
    const mounting = [...calls.entries()].filter(([, call]) => /^(?:fs\w+|move_mount) /.test(call));
    expect(mounting.length).toBeGreaterThan(8);
    for (const [index, call] of mounting) {
      const errno = errnos[index % errnos.length];
      await using run = await Run.of(it);
      const { status, stderr } = await run.start(index + 1, errno);
      const said =
        errno === 'ENOSPC'
          ? /^layerstack: ERR_NO_SPACE: /
          : new RegExp(`^layerstack: ERR_SYSTEM: ${errno ?? ''}: `);
      expect([call, status, stderr]).toEqual([call, 1, expect.stringMatching(said)]);
      expect(readdirSync(join(run.root, 'layerstack/flat'))).toEqual([]);
    }
  });

  describe.each(Object.entries(CASES))('%s', (_, it) => {
    let known: States;

    beforeAll(async () => {
      known = await states(it);
    });

    test('a kill leaves the old state or the new one for the next writer, and fsck names the leftovers', async () => {
      const faults: string[] = [];
      for (const { at, call } of points(known)) {
        await using run = await Run.of(it);
        expect((await run.start(at)).signal).toBe('SIGKILL');
        const left = run.look();
        const isWhole = same(left, known.before) || same(left, known.after);
        if (!isWhole && (await run.wrong()).length === 0)
          faults.push(`${call}: fsck does not say: ${difference(left, known)}`);
        const shape = await run.shape();
        if (!same(shape, known.before) && !same(shape, known.after))
          faults.push(`${call}: ${difference(shape, known)}`);
      }
      expect(faults).toEqual([]);
    });

    test('after an error the exit status says whether the change was made', async () => {
      const faults: string[] = [];
      for (const { at, call } of points(known)) {
        await using run = await Run.of(it);
        const { status, stderr } = await run.start(at, 'EIO');
        const shape = await run.shape();
        const wanted = status === 0 ? known.after : known.before;
        if (!same(shape, wanted)) faults.push(`${call}: exit ${String(status)}: ${difference(shape, known)}`);
        if (status !== 0 && !/^layerstack: ERR_(?!INTERNAL)\w+: /m.test(stderr))
          faults.push(`${call}: ${stderr}`);
        if (status === 0 && !/^(?:layerstack: done, but .*EIO.*\n)?$/.test(stderr))
          faults.push(`${call}: ${stderr}`);
      }
      expect(faults).toEqual([]);
    });

    test('an interrupted call is repeated', async () => {
      const faults: string[] = [];
      for (const { at, call } of points(known)) {
        await using run = await Run.of(it);
        const { status, stderr } = await run.start(at, 'EINTR');
        if (status !== 0 || stderr !== '') faults.push(`${call}: exit ${String(status)}: ${stderr}`);
        else if (!same(await run.shape(), known.after)) faults.push(`${call}: not done`);
      }
      expect(faults).toEqual([]);
    });
  });
});
