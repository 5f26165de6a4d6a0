/**
 * The published tarball, as users without a compiler install it: by each package manager, on each Node, from
 * each kind of module, in threads, bundled. docs/installing.md has the table of these cases.
 */
import { copyFileSync, cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeProject, pathWithoutCompiler, USED, writeArchive } from '../support/installed.ts';
import { HOME, packed } from '../support/packed.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { installTools, node, NODES, tool } from '../support/tools.ts';

interface Manager {
  readonly name: string;
  readonly runsOn: (typeof NODES)[number];
  /** Its program, of the tools, and what it is called with. */
  readonly command: readonly [program: string, ...options: string[]];
  readonly environment?: Readonly<Record<string, string>>;
}

const YARN4 = { YARN_ENABLE_IMMUTABLE_INSTALLS: 'false', YARN_ENABLE_TELEMETRY: '0' };
const MANAGERS: readonly Manager[] = [
  { name: 'npm 11', runsOn: 'node20', command: ['npm11/bin/npm-cli.js', 'install', '--no-audit'] },
  // It runs no scripts of dependencies.
  { name: 'npm 12', runsOn: 'node24', command: ['npm12/bin/npm-cli.js', 'install', '--no-audit'] },
  { name: 'pnpm 10', runsOn: 'node22', command: ['pnpm10/bin/pnpm.cjs', 'install'] },
  { name: 'yarn 1', runsOn: 'node20', command: ['yarn1/bin/yarn.js', 'install', '--non-interactive'] },
  {
    name: 'yarn 4',
    runsOn: 'node22',
    command: ['yarn4/bin/yarn.js', 'install'],
    environment: { ...YARN4, YARN_NODE_LINKER: 'node-modules' },
  },
];

interface Bundler {
  readonly name: string;
  readonly output: string;
  readonly command: (entry: string, output: string) => string[];
}

const PREBUILT = `prebuilds/linux-${process.arch}/layerstack.glibc.node`;

const peers = havePeers('g++', 'make', 'npm', 'unshare', 'mount');

describe.runIf(peers)('the published tarball', () => {
  let scratch: string;
  let tarball: string;
  let archive: string;
  /** Projects by the manager that has installed the package in them; npm 11's has it twice. */
  let projects: Map<string, string>;
  let stores = 0;
  const newStore = (): string => join(scratch, 'stores', String(stores++));

  const runs = async (program: string, script: string, ...options: string[]): Promise<string> =>
    (await must(program, [script, newStore(), archive, ...options])).trim();

  beforeAll(async () => {
    scratch = makeScratch('installed');
    mkdirSync(join(scratch, 'stores'));
    archive = writeArchive(join(scratch, 'app.tar'));
    await installTools();
    tarball = await packed(scratch);
    projects = new Map(
      MANAGERS.map(({ name }) => {
        const twice = name === 'npm 11' ? { 'layerstack-again': `file:${tarball}` } : {};
        // A directory with a space.
        const directory = join(scratch, `project of ${name}`);
        return [name, makeProject(directory, { layerstack: `file:${tarball}`, ...twice })] as const;
      }),
    );
  });

  afterAll(() => dropScratch(scratch));

  const projectOf = (name: string): string => projects.get(name) ?? '';

  it.each(MANAGERS)('is installed by $name without a compiler', async (manager) => {
    const { name, runsOn, command, environment } = manager;
    const PATH = pathWithoutCompiler(join(scratch, `programs of ${name}`), node(runsOn));
    for (const compiler of ['cc', 'gcc', 'g++', 'c++', 'clang', 'make', 'python3'])
      expect(existsSync(join(PATH, compiler))).toBe(false);
    const [program, ...options] = command;
    // Yarn keeps packages by name and version, also one that a test made before.
    const caches = { HOME: join(scratch, 'home'), YARN_CACHE_FOLDER: join(scratch, 'yarn') };
    const ran = await run(node(runsOn), [tool(program), ...options], {
      cwd: projectOf(name),
      env: { ...caches, ...environment, PATH },
    });
    expect(ran.status, ran.stdout + ran.stderr).toBe(0);
    expect(await runs(node(runsOn), join(projectOf(name), 'module.mjs'))).toBe(USED);
    expect(await runs(node(runsOn), join(projectOf(name), 'script.cjs'))).toBe(USED);
  });

  describe.each(NODES)('on %s', (version) => {
    it.each(['module.mjs', 'script.cjs'])('is loaded by %s', async (script) => {
      expect(await runs(node(version), join(projectOf('npm 11'), script))).toBe(USED);
    });

    it('is loaded several times in one process, in threads too', async () => {
      const said = await runs(node(version), join(projectOf('npm 11'), 'threads.mjs'));
      expect(said.split('\n')).toEqual([USED, USED, USED, USED, USED, '3 3']);
    });
  });

  it('is loaded from a read-only directory', async () => {
    const project = projectOf('npm 11');
    const script = `
      mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 3
      touch "$1/package.json" 2>/dev/null && exit 4
      exec "$2" "$1/module.mjs" "$3" "$4"`;
    const said = await must('unshare', [
      ...['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh'],
      ...[project, node('node22'), newStore(), archive],
    ]);
    expect(said.trim()).toBe(USED);
  });

  it('has its command', async () => {
    const command = join(projectOf('npm 11'), 'node_modules/.bin/layerstack');
    expect(await must(command, ['--root', newStore(), 'load', '-i', archive])).toContain('app:1');
  });

  describe.each<Bundler>([
    {
      name: 'esbuild',
      output: 'app.cjs',
      command: (entry, output) => [
        tool('esbuild/bin/esbuild'),
        ...['--bundle', '--platform=node', '--format=cjs', '--log-level=error', `--outfile=${output}`, entry],
      ],
    },
    {
      name: 'rolldown',
      output: 'app.mjs',
      command: (entry, output) => [
        join(HOME, 'node_modules/rolldown/bin/cli.mjs'),
        ...[
          '--platform',
          'node',
          '--format',
          'esm',
          '--dir',
          dirname(output),
          '--entryFileNames',
          'app.mjs',
          entry,
        ],
      ],
    },
  ])('in a program bundled by $name', ({ name, output, command }) => {
    const bundled = async (entry: string, directory: string): Promise<string> => {
      const project = projectOf('npm 11');
      await must(process.execPath, command(join(project, entry), join(directory, output)), { cwd: project });
      return join(directory, output);
    };

    /** A directory elsewhere, with the dependencies that are native themselves. */
    const deployment = (called: string): string => {
      const directory = join(scratch, `${called} by ${name}`);
      for (const dependency of ['xxhash-addon', 'node-gyp-build'])
        cpSync(
          join(projectOf('npm 11'), 'node_modules', dependency),
          join(directory, 'node_modules', dependency),
          {
            recursive: true,
          },
        );
      return directory;
    };

    it.each(['module.mjs', 'script.cjs'])('beside its package: %s', async (entry) => {
      const program = await bundled(entry, join(projectOf('npm 11'), 'dist'));
      expect(await runs(node('node20'), program)).toBe(USED);
    });

    it.each(['module.mjs', 'script.cjs'])(
      'with a copy of the addon, named by its path: %s',
      async (entry) => {
        const directory = deployment(entry);
        const program = await bundled(entry, directory);
        const addon = join(directory, 'copied.node');
        copyFileSync(join(projectOf('npm 11'), 'node_modules/layerstack', PREBUILT), addon);
        expect(await runs(node('node22'), program, addon)).toBe(USED);
        const env = { LAYERSTACK_ADDON: 'copied.node' };
        const said = await must(node('node22'), [program, newStore(), archive], { cwd: directory, env });
        expect(said.trim()).toBe(USED);
      },
    );
  });

  it('says in a bundle far from its package how to build the addon, and these steps work', async () => {
    const directory = join(scratch, 'far away');
    mkdirSync(directory);
    const bundle = join(scratch, 'script.cjs by esbuild', 'app.cjs');
    const program = join(scratch, 'script.cjs by esbuild', 'moved.cjs');
    copyFileSync(bundle, program);
    const start = [program, newStore(), archive];
    const failed = await run(process.execPath, start, { cwd: directory });
    const said = /Build it with `(.*?)` .*? set LAYERSTACK_ADDON=(.*?)\. If the file/.exec(failed.stderr);
    const [, command = '', addon = ''] = said ?? [];
    expect(command, failed.stderr).toContain('layerstack@0.1.0');
    // Packages that are not published yet come from the tarball.
    const build = command.replace(/layerstack@[\d.]+/, `'${tarball}'`);
    await must('sh', ['-c', build], { cwd: directory });
    const used = await must('sh', ['-c', `LAYERSTACK_ADDON=${addon} "$@"`, 'sh', process.execPath, ...start]);
    expect(used.trim()).toBe(USED);
  });
});
