/**
 * Continuity's FSSuite, with which containerd tests its snapshotters: the changes of a container survive
 * commit, save and load. Debian has the suite as Go source (golang-github-containerd-continuity-dev). What
 * overlayfs itself does not keep in a mounted container, the links of a lower layer's file that is changed by
 * one of its names, a bare overlay does not keep either.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { CLI } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';

const SOURCES = '/usr/share/gocode';
const TESTS = [
  ...['Basic', 'Deletion', 'Update', 'DirectoryPermission', 'ParentDirectoryPermission'],
  ...['HardlinkUnmodified', 'HardlinkBeforeUnmodified', 'HardlinkBeforeModified'],
];

/** The tests that change a file of a lower layer which has two names. */
const BROKEN_BY_OVERLAYFS = [
  'Basic',
  'HardlinkUnmodified',
  'HardlinkBeforeUnmodified',
  'HardlinkBeforeModified',
];

describe.runIf(havePeers('go'))("continuity's FSSuite through commit, save and load", () => {
  const outcomes = new Map<string, string>();
  const said = new Map<string, string>();

  beforeAll(async () => {
    expect(existsSync(`${SOURCES}/src/github.com/containerd/continuity`), 'the suite is installed').toBe(
      true,
    );
    const scratch = makeScratch('fssuite');
    try {
      const { stdout, stderr } = await run('go', ['test', '-json', '-count=1', '.'], {
        cwd: fileURLToPath(new URL('../fixtures/fssuite', import.meta.url)),
        env: {
          ...{
            GO111MODULE: 'off',
            GOPATH: SOURCES,
            GOFLAGS: '',
            GOCACHE: `${scratch}/cache`,
            TMPDIR: scratch,
          },
          ...{ NODE: process.execPath, LAYERSTACK: CLI },
        },
      });
      for (const line of stdout.split('\n').filter((text) => text.startsWith('{'))) {
        const event = JSON.parse(line) as { Action: string; Test?: string; Output?: string };
        const name = event.Test?.replace(/^Test/, '') ?? 'the build';
        if (event.Action === 'output') said.set(name, (said.get(name) ?? '') + (event.Output ?? ''));
        else outcomes.set(name, event.Action);
      }
      said.set('the build', `${said.get('the build') ?? ''}${stderr}`);
    } finally {
      await dropScratch(scratch);
    }
  });

  /** The outcome of a test, and the step that fails. */
  const resultOf = (way: string, name: string): string => {
    const step = /Directories not equal at (\d+)/.exec(said.get(`${way}/${name}`) ?? '')?.[1];
    return `${outcomes.get(`${way}/${name}`)}${step === undefined ? '' : ` at ${step}`}`;
  };

  it.each(TESTS)('%s: a difference that is copied in', (name) => {
    expect(
      outcomes.get(`Diff/${name}`),
      `${said.get(`Diff/${name}`) ?? ''}${said.get('the build') ?? ''}`,
    ).toBe('pass');
  });

  it.each(TESTS)('%s: a change of the mounted container is what a bare overlay makes of it', (name) => {
    const wanted = BROKEN_BY_OVERLAYFS.includes(name) ? /^fail at \d$/ : /^pass$/;
    expect(resultOf('Kernel', name), said.get(`Kernel/${name}`)).toMatch(wanted);
    expect(resultOf('Mount', name), said.get(`Mount/${name}`)).toBe(resultOf('Kernel', name));
  });

  it('has no test that is not listed here', () => {
    const ran = [...outcomes.keys()].filter((name) => name.startsWith('Diff/'));
    expect(ran.sort()).toEqual(TESTS.map((name) => `Diff/${name}`).sort());
  });
});
