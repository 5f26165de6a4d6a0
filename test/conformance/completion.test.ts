/** The completion scripts in their shells: the offers when a user presses Tab. */
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { VERBS } from '../../src/app/cli/commands/index.ts';
import { CLI, LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { must, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

type Shell = 'bash' | 'zsh' | 'fish';

let scratch: string;
/** The user's working directory. */
let folder: string;
let cli: LayerstackCli;
let env: Record<string, string>;

const SHELLS = ['bash', 'zsh', 'fish'] as const;
const IMAGES = ['house:1', 'registry.example:5000/team/app:2'];
const CONTAINERS = ['barn', 'box'];

/** Makes a shell insert all offers, and the command print its arguments. */
const STARTUP: Readonly<Record<'bash' | 'zsh', string>> = {
  bash: `
    bind 'set enable-bracketed-paste off'
    bind 'set bell-style none'
    source ../completion.bash
  `,
  zsh: `
    autoload -Uz compinit && compinit -u -D
    source ../completion.zsh
    zstyle ':completion:all-matches::::' completer _all_matches _complete
    zstyle ':completion:all-matches:*' insert true
    zle -C all-matches complete-word _generic
    bindkey '^Xa' all-matches
  `,
};
const PRINTER = `layerstack() { printf 'GOT'; printf '<%s>' "$@"; echo; }\n`;

/** The last words that `shell` offers for each of these lines. */
async function offers(shell: Shell, lines: readonly string[]): Promise<string[][]> {
  return shell === 'fish' ? Promise.all(lines.map(offersOfFish)) : insertedBy(shell, lines);
}

async function offersOfFish(line: string): Promise<string[]> {
  const told = await must(
    'fish',
    ['--no-config', '-c', 'source ../completion.fish; complete -C $argv[1]', line],
    {
      ...{ cwd: folder, env },
    },
  );
  return words(
    told.split('\n').map((each) => each.split('\t')[0] ?? ''),
    line,
  );
}

/** Types them on a terminal, each followed by the key that inserts all matches. */
async function insertedBy(shell: 'bash' | 'zsh', lines: readonly string[]): Promise<string[][]> {
  const key = shell === 'bash' ? '\u001b*' : '\u0018a';
  const command = shell === 'bash' ? 'bash --noprofile --rcfile ../bashrc -i' : 'zsh -i';
  const { stdout } = await run('script', ['-qec', command, '/dev/null'], {
    ...{ cwd: folder, env, input: [...lines.map((line) => line + key), 'exit', ''].join('\n') },
  });
  const got = [...stdout.matchAll(/GOT((?:<[^>]*>)+)\r?\n/g)].map(([, args = '']) =>
    args.slice(1, -1).split('><'),
  );
  expect(got, stdout).toHaveLength(lines.length);
  return got.map((args, at) => words(args.slice((lines[at] ?? '').split(' ').length - 2), lines[at] ?? ''));
}

/** Removes the typed text where nothing is offered, and the slash of directories. */
function words(found: readonly string[], line: string): string[] {
  const typed = line.split(' ').at(-1);
  return found
    .map((each) => each.replace(/\/$/, ''))
    .filter((each) => each !== '' && each !== typed)
    .sort();
}

describe.runIf(havePeers('bash', 'zsh', 'fish', 'script'))('completion', () => {
  beforeAll(async () => {
    scratch = makeScratch('completion');
    cli = new LayerstackCli(join(scratch, 'store'));
    mkdirSync(join(scratch, 'bin'));
    folder = join(scratch, 'work');
    mkdirSync(join(folder, 'sub'), { recursive: true });
    const command = join(scratch, 'bin/layerstack');
    writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${CLI}" "$@"\n`);
    chmodSync(command, 0o755);
    writeFileSync(join(folder, 'sub.tar'), tar([{ name: 'file', content: 'x' }]));
    for (const image of IMAGES) await cli.run('import', join(folder, 'sub.tar'), image);
    for (const name of CONTAINERS) await cli.run('create', '--name', name, 'house:1', 'true');
    for (const shell of SHELLS)
      writeFileSync(join(scratch, `completion.${shell}`), `${await cli.run('completion', shell)}\n`);
    writeFileSync(join(scratch, 'bashrc'), STARTUP.bash + PRINTER);
    writeFileSync(join(scratch, '.zshrc'), STARTUP.zsh + PRINTER);
    env = {
      PATH: `${join(scratch, 'bin')}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
      ...{ LAYERSTACK_ROOT: cli.root, ZDOTDIR: scratch, TERM: 'xterm', HOME: scratch, PS1: '$ ' },
    };
  });

  afterAll(() => dropScratch(scratch));

  /** The typed text, and the offers for its last word. */
  const CASES: readonly (readonly [line: string, offered: readonly string[]])[] = [
    ['layerstack lo', ['load', 'login', 'logout']],
    ['layerstack help co', ['commit', 'completion', 'containers']],
    [
      'layerstack load --',
      [
        '--allow-unsafe-root',
        '--check',
        '--format',
        '--help',
        '--input',
        '--max-bytes',
        '--packed',
        '--platform',
        '--quiet',
        '--read-only',
        '--root',
      ],
    ],
    ['layerstack ps --n', ['--no-trunc']],
    ['layerstack load --input su', ['sub', 'sub.tar']],
    ['layerstack load -qi su', ['sub', 'sub.tar']],
    ['layerstack import su', ['sub', 'sub.tar']],
    ['layerstack pull --all-platforms su', ['sub']],
    ['layerstack bundle box su', ['sub']],
    ['layerstack save --format ', ['docker', 'oci']],
    ['layerstack events --format ', ['json']],
    ['layerstack completion ', [...SHELLS].sort()],
    ['layerstack rmi ', IMAGES],
    ['layerstack rmi house:1 reg', ['registry.example:5000/team/app:2']],
    ['layerstack tag registry.example:5000/te', ['registry.example:5000/team/app:2']],
    ['layerstack tag house:1 ', []],
    ['layerstack rm -f b', CONTAINERS],
    ['layerstack umount ba', ['barn']],
    ['layerstack inspect --type image ', [...CONTAINERS, ...IMAGES]],
    ['layerstack cp b', ['barn:', 'box:']],
    ['layerstack cp su', ['sub', 'sub.tar']],
    ['layerstack create --name new house:1 -', []],
    ['layerstack create --volumes-from b', CONTAINERS],
    ['layerstack --root /nowhere/at/all rm ', []],
    ['layerstack --root=/nowhere/at/all rmi ', []],
    ['layerstack nonsense ', []],
  ];

  it.each(SHELLS)('of %s offers verbs, options, words, files and names of the store', async (shell) => {
    const found = await offers(
      shell,
      CASES.map(([line]) => line),
    );
    expect(CASES.map(([line], at) => [line, found[at]])).toEqual(
      CASES.map(([line, offered]) => [line, [...offered]]),
    );
    expect(existsSync('/nowhere')).toBe(false);
  });

  it('of bash continues after an equals sign, where bash splits words', async () => {
    const [format, file, image] = await offers('bash', [
      'layerstack save --format=o',
      'layerstack load --input=sub.t',
      'layerstack create --volumes-from=bo',
    ]);
    expect([format, file, image]).toEqual([['--format=oci'], ['--input=sub.tar'], ['--volumes-from=box']]);
  });

  it.each(SHELLS)('of %s is well formed and knows every verb', async (shell) => {
    await must(shell, ['-n', join(scratch, `completion.${shell}`)]);
    const [all] = await offers(shell, ['layerstack ']);
    expect(all).toEqual(['help', 'ps', 'umount', ...Object.keys(VERBS)].sort());
  });
});

describe('the query for names', () => {
  it('prints names of images and containers, and nothing without a store', async () => {
    const query = makeScratch('completion-query');
    try {
      const own = new LayerstackCli(join(query, 'store'));
      const asked = (kind: string) => own.try(['__complete', kind]);
      const { status, stdout, stderr } = await asked('image');
      expect([status, stdout, stderr]).toEqual([0, '', '']);
      expect(existsSync(own.root)).toBe(false);
      writeFileSync(join(query, 'store'), 'a file');
      expect(await asked('object')).toMatchObject({ status: 0, stdout: '', stderr: '' });
      expect(readdirSync(query)).toEqual(['store']);
    } finally {
      await dropScratch(query);
    }
  });

  it('is a verb that the help neither shows nor advises', async () => {
    const own = new LayerstackCli('/nowhere');
    expect(await own.run('--help')).not.toContain('__complete');
    expect((await own.try(['__complet'])).stderr).not.toContain('__complete`');
  });
});
