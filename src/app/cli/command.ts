/**
 * The declaration of a command: its arguments, and what it does. `main.ts` parses the arguments by it, prints
 * its help from it, and runs it. A command neither reads `process.argv` nor ends the process.
 */
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { Logger } from '../../system/log.ts';
import type { Layerstack } from '../layerstack.ts';
import type { OpenOptions } from '../open-options.ts';
import type { Registry } from '../registry.ts';
import type { Output } from './terminal.ts';

/**
 * What a value names, for the shell's completion. `container-path` is a container with a path in it,
 * `mountable` a container or the path of an archive, `object` an image or a container, and `none` something
 * that a shell cannot know. A list holds all words that the value may be.
 */
export type ValueKind =
  | 'file'
  | 'directory'
  | 'image'
  | 'container'
  | 'container-path'
  | 'mountable'
  | 'object'
  | 'verb'
  | 'none'
  | readonly string[];

/** One option, in the terms of `util.parseArgs`, with the text of its help line. */
export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What a value is called in the help, e.g. `FILE`. */
  readonly value?: string;
  /** Default: derived from `value` by {@link kindOf}. */
  readonly kind?: ValueKind;
  readonly help: string;
}

const KINDS: Readonly<Record<string, ValueKind>> = {
  ...{ FILE: 'file', DIR: 'directory', IMAGE: 'image', CONTAINER: 'container' },
};

/** Returns what the value of an option names: one of two words for `docker|oci`, a file for `FILE`. */
export function kindOf({ kind, value = '' }: OptionSpec): ValueKind {
  if (kind !== undefined) return kind;
  return /^[a-z\d-]+(?:\|[a-z\d-]+)*$/.test(value) ? value.split('|') : (KINDS[value] ?? 'none');
}

/** An example of a command, and what it does: `loads an archive`. */
export interface Example {
  readonly command: string;
  readonly does: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type Value<S extends OptionSpec> = S['type'] extends 'string' ? string : boolean;

/** Parsed options, typed by their specs. */
export type Values<O extends OptionSpecs> = {
  readonly [K in keyof O]: (O[K] extends { multiple: true } ? Value<O[K]>[] : Value<O[K]>) | undefined;
};

/** The environment of a command. */
export interface Context {
  /** Opens the store that the global options name; the caller closes it. */
  open(options?: Pick<OpenOptions, 'log' | 'readOnly'>): Promise<Layerstack>;
  /** Returns the log of a command. Failures of the aftermath are printed when the command ends. */
  log(): Promise<Logger>;
  /** Returns access to registries, with the settings of that store. The store is not opened. */
  registry(): Promise<Registry>;
  /** The root that the global options name. */
  readonly root: string;
  readonly allowUnsafeRoot: boolean;
  /** Fires on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly stdin: NodeJS.ReadStream;
  readonly stdoutIsTerminal: boolean;
  /** Prints data, one line each: see {@link Output.print}. */
  print(...lines: string[]): void;
  /** Sets the exit status of a command that does not fail. Default 0. */
  exitWith(status: number): void;
  /** The streams for the output of another program, which is passed on byte for byte. */
  readonly programOutputs: Readonly<Record<'stdout' | 'stderr', NodeJS.WritableStream>>;
  /** For progress and remarks. */
  readonly stderr: Output;
  /** Returns all verbs. */
  declarations(): Promise<Declaration[]>;
}

export interface Command<O extends OptionSpecs = OptionSpecs> {
  /** The arguments after the verb, e.g. `[OPTIONS] CONTAINER DIR`. */
  readonly usage: string;
  /** What it does and prints, for its `--help`. */
  readonly description: string;
  readonly options: O;
  /** Options end at the first operand, as in `create IMAGE CMD -x`. */
  readonly operandsEndOptions?: boolean;
  /** The command runs until a signal comes, which is its normal end. Unfinished work ends with it. */
  readonly untilSignal?: boolean;
  /** The number of operands, and what each of them names. The last kind is that of all further operands. */
  readonly operands: { readonly min: number; readonly max: number; readonly kinds?: readonly ValueKind[] };
  readonly examples: readonly Example[];
  /** What the exit status 1 may mean besides a failure. */
  readonly failure?: string;
  /** Exit statuses in place of 1 and 2, with their meanings. */
  readonly statuses?: ExitStatuses;
  run(context: Context, values: Values<O>, operands: readonly string[]): Promise<void>;
}

/** The exit statuses of a command that passes on the status of another program. */
export interface ExitStatuses {
  /** The statuses, as the manual page shows them, with their meanings. */
  readonly meanings: readonly (readonly [status: string, meaning: string])[];
  /** Returns the status for an error, which may be a wrong command line. */
  of(error: unknown): number;
}

/** A verb, with its names, its summary and its command. */
export interface Declaration {
  readonly verb: string;
  /** Other names of the verb. */
  readonly aliases: readonly string[];
  readonly summary: string;
  readonly command: Command;
}

/** Gives a command's `run` the types of its own options. */
export function defineCommand<const O extends OptionSpecs>(command: Command<O>): Command {
  return command as unknown as Command;
}

/** The command line is wrong: exit status 2. */
export class UsageError extends Error {}

/** Options that may stand before the verb and after it. */
export const GLOBAL_OPTIONS = {
  root: {
    type: 'string',
    value: 'DIR',
    help: 'store directory (default $LAYERSTACK_ROOT or /var/lib/layerstack)',
  },
  'read-only': { type: 'boolean', help: 'write nothing; works beside a running dockerd' },
  'allow-unsafe-root': { type: 'boolean', help: 'open a store that users other than root can write to' },
  help: { type: 'boolean', short: 'h', help: 'show this help' },
} as const satisfies OptionSpecs;

/** Options that may stand before the verb. */
export const PROGRAM_OPTIONS = {
  ...GLOBAL_OPTIONS,
  version: { type: 'boolean', short: 'v', help: 'print the version' },
} as const satisfies OptionSpecs;

/**
 * Parses arguments by `specs`.
 * @throws UsageError naming the option that is unknown, lacks its value, or has a value that it does not
 *   take.
 */
export function parseOptions<O extends OptionSpecs>(
  given: readonly string[],
  specs: O,
  operandsEndOptions = false,
): { values: Values<O>; operands: string[] } {
  const args = withNumbers(given, specs);
  const options: ParseArgsConfig['options'] = {};
  for (const [name, { type, short, multiple }] of Object.entries(specs))
    options[name] = { type, ...(short && { short }), ...(multiple && { multiple }) };
  const end = operandsEndOptions ? firstOperand(args, options) : args.length;
  try {
    const { values, positionals } = parseArgs({
      args: args.slice(0, end),
      options,
      allowPositionals: true,
      strict: true,
    });
    const rest = args.slice(args[end] === '--' ? end + 1 : end);
    return { values: values as Values<O>, operands: [...positionals, ...rest] };
  } catch (error) {
    throw new UsageError(firstSentence((error as Error).message), { cause: error });
  }
}

/** Joins `--memory-swap -1`, which docker's users write: a negative number is a value here, not an option. */
function withNumbers(args: readonly string[], specs: OptionSpecs): readonly string[] {
  const joined: string[] = [];
  for (const [index, arg] of args.entries()) {
    if (arg === '--') return [...joined, ...args.slice(index)];
    const before = joined.at(-1) ?? '';
    const takesValue = before.startsWith('--') && specs[before.slice(2)]?.type === 'string';
    if (takesValue && /^-\d+$/.test(arg)) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/** Returns where the options end: at the first operand or `--`. */
function firstOperand(args: readonly string[], options: ParseArgsConfig['options']): number {
  const { tokens } = parseArgs({
    args: [...args],
    options: options ?? {},
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  return tokens.find(({ kind }) => kind !== 'option')?.index ?? args.length;
}

/** Removes the advice about `--` that Node adds to its messages, because it confuses more than it helps. */
function firstSentence(text: string): string {
  return text.split(/(?<=['"])\.\s|\n/)[0] ?? text;
}
