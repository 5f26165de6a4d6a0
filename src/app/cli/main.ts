#!/usr/bin/env node
/**
 * The command `layerstack`: finds the verb, parses, runs, and turns whatever happens into an exit status. SIGINT and
 * SIGTERM abort the work, which then takes back what it has half done; a second signal ends the process at once.
 */
import { readFileSync } from 'node:fs';
import type { Layerstack } from '../layerstack.ts';
import { GLOBAL_OPTIONS, parseOptions, UsageError, type Command, type Context } from './command.ts';
import { ALIASES, VERBS } from './commands/index.ts';
import { describeError } from './errors.ts';

const DEFAULT_ROOT = '/var/lib/layerstack';

interface Invocation {
  readonly verb: string;
  readonly command: Command;
  readonly args: string[];
}

const abort = new AbortController();
let received: NodeJS.Signals | undefined;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    received = signal;
    abort.abort(new Error(`received ${signal}`));
  });
}

// Whoever read our output has seen enough (`layerstack images | head -1`): that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  abort.abort(new Error('nobody reads the output any more'));
  process.exitCode = 0;
});
process.stderr.on('error', () => undefined);

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  try {
    const before = parseOptions(
      args,
      { ...GLOBAL_OPTIONS, version: { type: 'boolean', short: 'v', help: '' } },
      true,
    );
    if (before.values.version) {
      print(`layerstack ${version()}`);
      return 0;
    }
    if (before.operands.length === 0) return await overview(before.values.help === true);
    const { verb, command, args: rest } = await find(before.operands);
    const { values, operands } = parseOptions(
      rest,
      { ...GLOBAL_OPTIONS, ...command.options },
      command.operandsEndOptions,
    );
    if (values.help === true || before.values.help === true) {
      const { commandHelp } = await import('./help.ts');
      print(commandHelp(verb, command));
      return 0;
    }
    checkOperands(verb, command, operands);
    await command.run(context({ ...before.values, ...values }), values, operands);
    return received === undefined ? 0 : 1;
  } catch (error) {
    return await report(error);
  }
}

async function overview(asked: boolean): Promise<number> {
  const { programHelp } = await import('./help.ts');
  if (asked) print(programHelp(VERBS));
  else process.stderr.write(`${programHelp(VERBS)}\n`);
  return asked ? 0 : 2;
}

async function find([name = '', ...args]: readonly string[]): Promise<Invocation> {
  const verb = ALIASES[name] ?? name;
  const entry = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
  if (!entry) throw new UsageError(`there is no command ${JSON.stringify(name)}: see layerstack --help`);
  return { verb, command: (await entry.load()).command, args };
}

function checkOperands(
  verb: string,
  { operands: { min, max }, usage }: Command,
  given: readonly string[],
): void {
  if (given.length >= min && given.length <= max) return;
  throw new UsageError(
    `${given.length < min ? 'too few' : 'too many'} arguments: layerstack ${verb} ${usage}`,
  );
}

function context(values: {
  readonly root?: string | undefined;
  readonly 'read-only'?: boolean | undefined;
}): Context {
  const root = values.root ?? (process.env['LAYERSTACK_ROOT'] || DEFAULT_ROOT);
  return {
    root,
    signal: abort.signal,
    stdin: process.stdin,
    stdoutIsTerminal: process.stdout.isTTY,
    stderr: process.stderr,
    print,
    async open(): Promise<Layerstack> {
      const { Layerstack: opened } = await import('../layerstack.ts');
      return opened.open({ root, readOnly: values['read-only'] === true });
    },
  };
}

function print(...lines: string[]): void {
  if (lines.length > 0) process.stdout.write(`${lines.join('\n')}\n`);
}

async function report(error: unknown): Promise<number> {
  const { line, status } = describeError(error, received);
  // Progress may have left the cursor in the middle of a line.
  process.stderr.write(`${process.stderr.isTTY ? '\r\u001b[K' : ''}${line}\n`);
  if (process.env['LAYERSTACK_DEBUG'] && error instanceof Error) {
    const { inspect } = await import('node:util');
    process.stderr.write(`${inspect(error)}\n`);
  }
  return status;
}

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
