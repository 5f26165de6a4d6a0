#!/usr/bin/env node
/**
 * The command `layerstack`: finds the verb, parses its arguments, runs it, and turns the outcome into an exit
 * status. SIGINT and SIGTERM abort the work, which then undoes unfinished changes. A second signal ends the
 * process at once.
 */
import { isError } from '../../core/errors.ts';
import { DEFAULT_ROOT, isDebugging } from '../../system/environment.ts';
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import type { Registry } from '../registry.ts';
import { packageVersion } from '../../system/package-version.ts';
import {
  GLOBAL_OPTIONS,
  parseOptions,
  PROGRAM_OPTIONS,
  UsageError,
  type Command,
  type Context,
  type Declaration,
} from './command.ts';
import { ALIASES, HIDDEN_VERBS, VERBS } from './commands/index.ts';
import { aftermathLine, describeError } from './errors.ts';
import { processOutputs, programOutputs } from './terminal.ts';

interface Invocation {
  readonly verb: string;
  readonly command: Command;
  readonly args: string[];
}

const abort = new AbortController();
/** Failures after the change itself was made. */
const aftermath: string[] = [];
let received: NodeJS.Signals | undefined;
/** The exit status of the command if it does not fail. */
let exitStatus = 0;
/** The command that runs. */
let running: Command | undefined;

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    received = signal;
    abort.abort(new Error(`received ${signal}`));
  });
}

// The reader has closed the output, as in `layerstack images | head -1`. This is not a failure.
processOutputs.stdout.stream.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    processOutputs.stderr.print(describeError(error).line);
    process.exit(1);
  }
  abort.abort(new Error('the reader of the output has gone away'));
  process.exitCode = 0;
});
processOutputs.stderr.stream.on('error', () => undefined);

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  try {
    const before = parseOptions(args, PROGRAM_OPTIONS, true);
    if (before.values.version) {
      print(`layerstack ${packageVersion()}`);
      return 0;
    }
    if (before.operands.length === 0) return await overview(before.values.help === true);
    // `help` and `help VERB` work as in docker.
    const helped = before.operands[0] === 'help';
    if (helped && before.operands.length === 1) return await overview(true);
    const { verb, command, args: rest } = await find(before.operands.slice(helped ? 1 : 0));
    running = command;
    const { values, operands } = parseVerb(verb, command, rest);
    if (helped || values.help === true || before.values.help === true) {
      const { commandHelp } = await import('./help.ts');
      print(...commandHelp(verb, command).split('\n'));
      return 0;
    }
    checkOperands(verb, command, operands);
    await command.run(context({ ...before.values, ...globalOnly(values, command) }), values, operands);
    if (command.untilSignal === true) process.exit(0);
    // The work was complete before the signal came, so the command has not failed.
    printAftermath('done, but ');
    return exitStatus;
  } catch (error) {
    return await report(error);
  }
}

async function overview(asked: boolean): Promise<number> {
  const { programHelp } = await import('./help.ts');
  processOutputs[asked ? 'stdout' : 'stderr'].print(...programHelp(VERBS).split('\n'));
  return asked ? 0 : 2;
}

async function find([name = '', ...args]: readonly string[]): Promise<Invocation> {
  const verb = ALIASES[name] ?? name;
  const verbs = { ...VERBS, ...HIDDEN_VERBS };
  const entry = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined;
  if (!entry) {
    const { unknownVerb } = await import('./help.ts');
    throw new UsageError(unknownVerb(name, [...Object.keys(VERBS), ...Object.keys(ALIASES)]));
  }
  return { verb, command: (await entry.load()).command, args };
}

function parseVerb(verb: string, command: Command, args: readonly string[]): ReturnType<typeof parseOptions> {
  try {
    return parseOptions(args, { ...GLOBAL_OPTIONS, ...command.options }, command.operandsEndOptions);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${error.message}: see layerstack ${verb} --help`, { cause: error });
  }
}

/**
 * Leaves out a verb's own options: `create --read-only` is not the global option, which stands before the
 * verb.
 */
function globalOnly(
  values: ReturnType<typeof parseOptions>['values'],
  { options }: Command,
): Readonly<Record<string, never>> {
  const entries = Object.entries(values).filter(([name]) => !Object.hasOwn(options, name));
  return Object.fromEntries(entries) as Readonly<Record<string, never>>;
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
  readonly 'allow-unsafe-root'?: boolean | undefined;
}): Context {
  const root = values.root ?? (process.env['LAYERSTACK_ROOT'] || DEFAULT_ROOT);
  const allowUnsafeRoot = values['allow-unsafe-root'] === true;
  if (root === '') throw new UsageError('--root is empty: name the directory of the store');
  return {
    root,
    allowUnsafeRoot,
    signal: abort.signal,
    // Getters: Node makes these streams on first use, which takes milliseconds.
    get stdin() {
      return process.stdin;
    },
    get stdoutIsTerminal() {
      return processOutputs.stdout.isTerminal;
    },
    get programOutputs() {
      return programOutputs();
    },
    get stderr() {
      return processOutputs.stderr;
    },
    print,
    exitWith(status) {
      exitStatus = status;
    },
    async declarations(): Promise<Declaration[]> {
      const { allDeclarations } = await import('./declarations.ts');
      return allDeclarations();
    },
    async registry(): Promise<Registry> {
      const module = await import('../registry.ts');
      return new module.Registry(root, { allowUnsafeRoot });
    },
    async open({ log, readOnly = false } = {}): Promise<Layerstack> {
      const { Layerstack: opened } = await import('../layerstack.ts');
      return opened.open({
        root,
        allowUnsafeRoot,
        readOnly: readOnly || values['read-only'] === true,
        log: log ?? (await this.log()),
      });
    },
    async log(): Promise<Logger> {
      const { aftermathLog } = await import('./aftermath-log.ts');
      return aftermathLog((message) => aftermath.push(message));
    },
  };
}

function print(...lines: string[]): void {
  processOutputs.stdout.print(...lines);
}

function printAftermath(prefix: string): void {
  for (const failure of aftermath) processOutputs.stderr.print(aftermathLine(prefix + failure));
}

async function report(error: unknown): Promise<number> {
  printAftermath('');
  const { line, status } = describeError(error, received);
  // Progress may have left the cursor in the middle of a line.
  if (processOutputs.stderr.canRedraw) processOutputs.stderr.redrawLine('');
  processOutputs.stderr.print(line);
  if (isDebugging() && isError(error)) {
    const { inspect } = await import('node:util');
    processOutputs.stderr.print(...inspect(error).split('\n'));
  }
  return running?.statuses?.of(error) ?? status;
}
