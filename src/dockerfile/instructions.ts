/**
 * The Dockerfile instructions that change a container config and no files. Each gives the changed members,
 * and the text that docker puts into the history. Mirrors `moby/moby: builder/dockerfile/dispatchers.go` at
 * v20.10.
 */
import { posix } from 'node:path';
import { compareBytes } from '../core/bytes.ts';
import { goQuoteList } from '../core/go-quote.ts';
import { sortedKeys } from '../core/go-json.ts';
import { isSignal } from '../core/signals.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { commandLine, jsonList, rawPairs, splitOnSpace } from './arguments.ts';
import { readFlags } from './flags.ts';
import { healthcheck } from './healthcheck.ts';
import { splitFlags, splitInstruction, type DockerfileInstruction } from './parse.ts';
import { WordError } from './word-error.ts';
import { expandWord, expandWords, trimSpace, type Environment, type Escape } from './words.ts';

/** The state that the instructions of one stage share. */
export interface InstructionState {
  readonly escape: Escape;
  /** An earlier instruction was CMD. */
  cmdSet: boolean;
  /** Values of build arguments, for which the config has no variable. */
  readonly args: Environment;
}

export interface AppliedInstruction {
  readonly change: Partial<ContainerConfig>;
  /** The step of the history, after `#(nop) `. */
  readonly comment: string;
}

type Instruction = (
  instruction: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
) => AppliedInstruction;

/** Instructions that cannot be triggers. */
const TRIGGERS_REFUSED = ['ONBUILD', 'FROM', 'MAINTAINER'];
/** Instructions with names and values, and instructions that accept a JSON list. */
const NAMING = ['ENV', 'LABEL'];
const LISTING = ['ADD', 'CMD', 'COPY', 'ENTRYPOINT', 'RUN', 'SHELL', 'VOLUME'];

/** By name. */
export const CONFIG_INSTRUCTIONS: ReadonlyMap<string, Instruction> = new Map<string, Instruction>([
  ['CMD', cmd],
  ['ENTRYPOINT', entrypoint],
  ['ENV', env],
  ['EXPOSE', expose],
  ['HEALTHCHECK', health],
  ['LABEL', label],
  ['ONBUILD', onBuild],
  ['SHELL', shell],
  ['STOPSIGNAL', stopSignal],
  ['USER', user],
  ['VOLUME', volume],
  ['WORKDIR', workDir],
]);

/**
 * Applies an instruction of {@link CONFIG_INSTRUCTIONS}.
 * @throws {@link WordError} where it is malformed.
 */
export function applyInstruction(
  instruction: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const { name, rest, flags } = instruction;
  const apply = CONFIG_INSTRUCTIONS.get(name);
  if (apply === undefined) throw new WordError(`${name} does not change the config of an image`);
  if (rest === '') throw new WordError(`${name} needs an argument`);
  if (name !== 'HEALTHCHECK') readFlags(name, flags, {});
  return apply(instruction, config, state);
}

function cmd(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const words = commandLine(rest, config.Shell);
  if (words.length > 0) state.cmdSet = true;
  return { change: { Cmd: words }, comment: `CMD ${goQuoteList(words)}` };
}

/** A new entrypoint clears the command, unless a CMD of the same stage has set it. */
function entrypoint(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const words = commandLine(rest, config.Shell);
  const change = { Entrypoint: words, ...(state.cmdSet ? {} : { Cmd: null }) };
  return { change, comment: `ENTRYPOINT ${goQuoteList(words)}` };
}

function env(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const list = [...(config.Env ?? [])];
  const words: string[] = [];
  for (const [name, value] of pairs('ENV', rest, config, state)) {
    const at = list.findIndex((entry) => entry.split('=', 1)[0] === name);
    list.splice(at < 0 ? list.length : at, 1, `${name}=${value}`);
    words.push(`${name}=${value}`);
  }
  return { change: { Env: list }, comment: ['ENV', ...words].join(' ') };
}

function label(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const added = pairs('LABEL', rest, config, state);
  return {
    change: { Labels: sortedKeys([...(config.Labels ?? []), ...added]) },
    comment: ['LABEL', ...added.map(([name, value]) => `${name}=${value}`)].join(' '),
  };
}

function expose(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const variables = variablesOf(config, state);
  const words = splitOnSpace(rest)
    .sort(compareBytes)
    .flatMap((word) => expandWords(word, variables, state.escape));
  return {
    change: { ExposedPorts: union(config.ExposedPorts, words.flatMap(ports)) },
    comment: ['EXPOSE', ...words].join(' '),
  };
}

function volume(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const words = jsonList(rest) ?? splitOnSpace(rest);
  if (words.length === 0) throw new WordError('VOLUME needs an argument');
  const variables = variablesOf(config, state);
  const paths = words.map((word) => trimSpace(expandWord(word, variables, state.escape)));
  if (paths.includes('')) throw new WordError('a volume must not be empty');
  return { change: { Volumes: union(config.Volumes, paths) }, comment: `VOLUME [${paths.join(' ')}]` };
}

function user(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const name = expandWord(rest, variablesOf(config, state), state.escape);
  return { change: { User: name }, comment: `USER ${name}` };
}

function workDir(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const path = expandWord(rest, variablesOf(config, state), state.escape);
  if (path === '') throw new WordError('the directory is empty');
  const directory = path.startsWith('/') ? path : posix.resolve('/', config.WorkingDir, path);
  return { change: { WorkingDir: directory }, comment: `WORKDIR ${directory}` };
}

function shell({ rest }: DockerfileInstruction): AppliedInstruction {
  const words = jsonList(rest);
  if (words === undefined || words.length === 0)
    throw new WordError('SHELL needs a list in JSON: SHELL ["/bin/bash", "-c"]');
  return { change: { Shell: words }, comment: `SHELL [${words.join(' ')}]` };
}

function health({ rest, flags }: DockerfileInstruction): AppliedInstruction {
  const { config, comment } = healthcheck(rest, flags);
  return { change: { Healthcheck: config }, comment };
}

/** Keeps the trigger as it is written, after parsing it. */
function onBuild(
  { rest, line }: DockerfileInstruction,
  config: ContainerConfig,
  { escape }: InstructionState,
): AppliedInstruction {
  const trigger = splitInstruction(rest);
  if (TRIGGERS_REFUSED.includes(trigger.name))
    throw new WordError(`${trigger.name} is not allowed as a trigger`);
  // Flags of the trigger take effect when it runs.
  const words = trimSpace(splitFlags(trigger.rest, escape).rest);
  if (NAMING.includes(trigger.name) && words !== '') rawPairs(trigger.name, words, escape);
  if (LISTING.includes(trigger.name)) jsonList(words);
  const text = line.replace(/^[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*/i, '');
  return { change: { OnBuild: [...(config.OnBuild ?? []), text] }, comment: `ONBUILD ${text}` };
}

function stopSignal(
  { rest }: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): AppliedInstruction {
  const signal = expandWord(rest, variablesOf(config, state), state.escape);
  if (!isSignal(signal)) throw new WordError(`${signal} is not a signal`);
  return { change: { StopSignal: signal }, comment: `STOPSIGNAL ${signal}` };
}

function pairs(
  instruction: string,
  rest: string,
  config: ContainerConfig,
  state: InstructionState,
): [string, string][] {
  const variables = variablesOf(config, state);
  return rawPairs(instruction, rest, state.escape).map(([name, value]) => {
    // Only the written name is checked: its variables may expand to nothing.
    if (name === '') throw new WordError('a name is empty');
    return [expandWord(name, variables, state.escape), expandWord(value, variables, state.escape)];
  });
}

/** Parses `80`, `80/udp` or `7000-7010/tcp`. */
function ports(spec: string): string[] {
  const [, first = '', last = first, protocol = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(spec) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === '' || from > to || to > 65535)
    throw new WordError(`${spec} is not a port: write PORT[-PORT][/tcp|udp|sctp]`);
  return Array.from({ length: to - from + 1 }, (_, at) => `${from + at}/${protocol.toLowerCase()}`);
}

/** Returns the variables that an instruction sees: build arguments, and those of the config over them. */
export function variablesOf(
  config: Pick<ContainerConfig, 'Env'>,
  { args }: Pick<InstructionState, 'args'>,
): Environment {
  const own = (config.Env ?? []).map((entry): [string, string] => {
    const [name = ''] = entry.split('=', 1);
    return [name, entry.slice(name.length + 1)];
  });
  return new Map([...args, ...own]);
}

function union(set: readonly string[] | null, more: readonly string[]): string[] {
  return [...new Set([...(set ?? []), ...more])].sort(compareBytes);
}
