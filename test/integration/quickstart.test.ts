import { readdirSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch, mountsBelow } from '../support/scratch.ts';
import { archiveOfMembers, LAYERS } from '../support/test-store.ts';

const TOUR = fileURLToPath(new URL('../../examples/quickstart/index.js', import.meta.url));

let scratch: string;

beforeEach(() => {
  scratch = makeScratch('tour');
});

afterEach(async () => {
  await dropScratch(scratch);
});

/** What the tour prints; its scratch directory is below ours, and has to be gone. */
async function tour(...command: string[]): Promise<string> {
  const [program = '', ...args] = command;
  const { stdout } = await mustRun(program, args, { env: { TMPDIR: scratch }, timeoutMs: 60_000 });
  expect(readdirSync(scratch).filter((name) => name.startsWith('layerstack-'))).toEqual([]);
  expect(mountsBelow(scratch)).toEqual([]);
  return stdout;
}

function expectHouse(text: string): void {
  expect(text).toContain('Loaded image: house:1');
  expect(text).toMatch(
    /Mounted\n.*\n.*\n {2}concrete "good concrete"\n {2}marble "marble"\n {2}rebar "rebar"/,
  );
  expect(text).toMatch(/house\/frame "frame"\n.*house\/marble character device 0:0, a whiteout: deleted/);
  expect(text).toMatch(
    /hello from root in \/house\n {2}concrete\n {2}frame\n {2}rebar\n {2}concrete: good concrete/,
  );
  expect(text).toContain('nothing left behind');
  expect(text).not.toContain('\u001b');
}

describe('the quickstart', () => {
  it('builds the house, shows every step and leaves nothing', async () => {
    expectHouse(await tour(process.execPath, TOUR));
  });

  it('works without busybox and runc', async () => {
    // In a mount namespace of its own, files that cannot be executed cover the programs.
    const hidden = ['busybox', 'runc']
      .flatMap((name) => findProgram(name) ?? [])
      .map((path) => realpathSync(path));
    const cover = hidden.map((path) => `mount --bind /dev/null '${path}'`).join(' && ');
    const script = `${cover || 'true'} && exec "$0" "$@"`;
    const text = await tour('unshare', '--mount', 'sh', '-c', script, process.execPath, TOUR);
    expect(text).toContain('busybox is not installed, so sh, ');
    expect(text).toContain('runc is not installed');
    expectHouse(text);
  });

  it('takes an archive of your own', async () => {
    const path = join(scratch, 'own.tar');
    writeFileSync(path, archiveOfMembers([...LAYERS, [{ name: 'etc/motd', content: 'hi' }]], {}, 'own:1'));
    const text = await tour(process.execPath, TOUR, path);
    expect(text).toContain('Loaded image: own:1');
    expect(text).toMatch(/etc\/motd character device 0:0, a whiteout: deleted/);
    expect(text).toContain('This image has no shell');
  });
});
