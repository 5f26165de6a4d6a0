/**
 * The published package under test runners: Jest gives each test file a realm of its own, Vitest does so if
 * it is configured to.
 */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeProject, USED, writeArchive } from '../support/installed.ts';
import { HOME, packed } from '../support/packed.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { installTools, node, NODES, tool } from '../support/tools.ts';

const KNOWN = (code: string): unknown[] => [code, true, true];
/** The output of observe.cjs. */
const OBSERVED = {
  used: JSON.parse(USED) as unknown,
  failed: {
    argument: KNOWN('ERR_INVALID_ARGUMENT'),
    missing: KNOWN('ERR_INVALID_ARGUMENT'),
    archive: KNOWN('ERR_ARCHIVE_INVALID'),
    aborted: KNOWN('ERR_ABORTED'),
    layer: KNOWN('ERR_LAYER_INVALID'),
    registry: KNOWN('ERR_REGISTRY_UNAVAILABLE'),
  },
};

const TEST = `
test('is used', async () => {
  expect(await observe(library, process.env.STORE, process.env.ARCHIVE)).toEqual(JSON.parse(process.env.OBSERVED));
});
test('throws errors that are recognised', async () => {
  await expect(library.Layerstack.open({ rot: '/x' })).rejects.toThrow(library.LayerstackError);
});`;
const REQUIRED = `const library = require('layerstack');\nconst observe = require('./observe.cjs');\n${TEST}`;
const IMPORTED = `import * as library from 'layerstack';\nimport observe from './observe.cjs';\n${TEST}`;

const JEST = JSON.stringify({
  testMatch: ['<rootDir>/*.test.*'],
  moduleFileExtensions: ['js', 'cjs', 'mjs', 'json', 'node'],
  transform: {},
});

const peers = havePeers('g++', 'npm');

describe.runIf(peers)('under a test runner', () => {
  let scratch: string;
  let installed: string;
  let environment: Record<string, string>;

  beforeAll(async () => {
    scratch = makeScratch('runners');
    await installTools();
    const tarball = await packed(scratch);
    installed = makeProject(join(scratch, 'installed'), { layerstack: `file:${tarball}` });
    await must('npm', ['install', '--no-audit', '--no-fund'], { cwd: installed });
    mkdirSync(join(scratch, 'stores'));
    environment = {
      ARCHIVE: writeArchive(join(scratch, 'app.tar')),
      OBSERVED: JSON.stringify(OBSERVED),
    };
  });

  afterAll(() => dropScratch(scratch));

  /** A copy of the project with the one test file. */
  function projectWith(name: string, file: string, text: string): string {
    const project = join(scratch, name);
    cpSync(installed, project, { recursive: true });
    writeFileSync(join(project, file), text);
    return project;
  }

  async function passes(
    project: string,
    program: string,
    args: string[],
    options: object = {},
  ): Promise<void> {
    const env = { ...environment, STORE: join(scratch, 'stores', `${Math.random()}`), ...options };
    const ran = await run(program, args, { cwd: project, env });
    expect(ran.stdout + ran.stderr).toMatch(/Tests:? .*2 passed/);
    expect(ran.status, ran.stdout + ran.stderr).toBe(0);
  }

  it.each(NODES)('Jest, by require, on %s', async (version) => {
    const project = projectWith(`jest on ${version}`, 'own.test.cjs', REQUIRED);
    await passes(project, node(version), [tool('jest/bin/jest.js'), '--rootDir', project, '--config', JEST]);
  });

  it('Jest, by import', async () => {
    const project = projectWith('jest by import', 'own.test.mjs', IMPORTED);
    const jest = [tool('jest/bin/jest.js'), '--rootDir', project, '--config', JEST];
    await passes(project, node('node22'), ['--experimental-vm-modules', ...jest]);
  });

  it.each(['forks', 'threads', 'vmThreads', 'vmForks'])('Vitest, in its %s', async (pool) => {
    const project = projectWith(`vitest in ${pool}`, 'own.test.mjs', IMPORTED);
    symlinkSync(join(HOME, 'node_modules/vitest'), join(project, 'node_modules/vitest'));
    const vitest = ['run', '--root', project, '--globals', '--pool', pool, '--no-color'];
    await passes(project, process.execPath, [join(HOME, 'node_modules/vitest/vitest.mjs'), ...vitest]);
  });
});
