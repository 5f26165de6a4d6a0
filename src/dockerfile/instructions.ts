/**
 * Applies Dockerfile instructions to a container config, in order and with Dockerfile's grammar, for
 * `--change` of commit and import. Mirrors `moby/moby: builder/dockerfile/{builder,dispatchers}.go`
 * (BuildFromConfig) at v20.10, which refuses STOPSIGNAL. HEALTHCHECK is not supported.
 */
import { posix } from 'node:path';
import { sortedKeys } from '../core/go-json.ts';
import { compareBytes } from '../core/bytes.ts';
import { LayerstackError } from '../core/errors.ts';
import { firstValue } from '../core/json.ts';
import { isSignal } from '../core/signals.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { parseDockerfile, splitInstruction, WHITE_SPACE, type DockerfileInstruction } from './parse.ts';
import {
  expandWord,
  expandWords,
  splitWords,
  trimSpace,
  WordError,
  type Environment,
  type Escape,
} from './words.ts';

type Change = Partial<ContainerConfig>;

/** The state that the instructions share. */
interface State {
  readonly escape: Escape;
  /** An earlier instruction was CMD. */
  cmdSet: boolean;
}

type Instruction = (rest: string, config: ContainerConfig, state: State, line: string) => Change;

const DEFAULT_SHELL = ['/bin/sh', '-c'];
const TRIGGERS_REFUSED = ['ONBUILD', 'FROM', 'MAINTAINER'];
/** Instructions with names and values, and instructions that accept a JSON list. */
const NAMING = ['ENV', 'LABEL'];
const LISTING = ['ADD', 'CMD', 'COPY', 'ENTRYPOINT', 'RUN', 'SHELL', 'VOLUME'];

/** An instruction is wrong; the message says why. */
class ChangeError extends Error {}

/**
 * Returns `config` after the instructions.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the instruction that is unknown or malformed.
 */
export function applyChanges(config: ContainerConfig, changes: readonly string[]): ContainerConfig {
  if (changes.length === 0) return config;
  const text = changes.join('\n');
  const { escape, instructions } = explained(text, () => parseDockerfile(text));
  const state = { escape, cmdSet: false };
  return instructions.reduce(
    (current, each) => ({ ...current, ...explained(each.line, () => applyOne(each, current, state)) }),
    config,
  );
}

function explained<T>(text: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ChangeError || error instanceof WordError)) throw error;
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `invalid change ${JSON.stringify(text)}: ${error.message}`,
      { found: text },
    );
  }
}

function applyOne(
  { name, rest, line }: DockerfileInstruction,
  config: ContainerConfig,
  state: State,
): Change {
  const instruction = INSTRUCTIONS.get(name);
  if (!instruction) throw new ChangeError(`it must be one of ${[...INSTRUCTIONS.keys()].join(', ')}`);
  if (rest === '') throw new ChangeError(`${name} needs an argument`);
  return instruction(rest, config, state, line);
}

const INSTRUCTIONS: ReadonlyMap<string, Instruction> = new Map<string, Instruction>([
  ['CMD', cmd],
  ['ENTRYPOINT', entrypoint],
  ['ENV', env],
  ['EXPOSE', expose],
  ['LABEL', label],
  ['ONBUILD', onBuild],
  ['STOPSIGNAL', stopSignal],
  ['USER', user],
  ['VOLUME', volume],
  ['WORKDIR', workDir],
]);

function cmd(rest: string, config: ContainerConfig, state: State): Change {
  const words = commandLine(rest, config);
  if (words.length > 0) state.cmdSet = true;
  return { Cmd: words };
}

/** A new entrypoint clears the command, unless a CMD of the same change has set it. */
function entrypoint(rest: string, config: ContainerConfig, state: State): Change {
  const words = commandLine(rest, config);
  return { Entrypoint: words.length > 0 ? words : null, ...(state.cmdSet ? {} : { Cmd: null }) };
}

function env(rest: string, config: ContainerConfig, { escape }: State): Change {
  const list = [...(config.Env ?? [])];
  for (const [name, value] of pairs('ENV', rest, config, escape)) {
    const at = list.findIndex((entry) => entry.split('=', 1)[0] === name);
    list.splice(at < 0 ? list.length : at, 1, `${name}=${value}`);
  }
  return { Env: list };
}

function label(rest: string, config: ContainerConfig, { escape }: State): Change {
  return { Labels: sortedKeys([...(config.Labels ?? []), ...pairs('LABEL', rest, config, escape)]) };
}

function expose(rest: string, config: ContainerConfig, { escape }: State): Change {
  const words = splitOnSpace(rest).flatMap((word) => expandWords(word, environment(config), escape));
  return { ExposedPorts: union(config.ExposedPorts, words.flatMap(ports)) };
}

function volume(rest: string, config: ContainerConfig, { escape }: State): Change {
  const words = jsonList(rest) ?? splitOnSpace(rest);
  if (words.length === 0) throw new ChangeError('VOLUME needs an argument');
  const paths = words.map((word) => trimSpace(expandWord(word, environment(config), escape)));
  if (paths.includes('')) throw new ChangeError('a volume must not be empty');
  return { Volumes: union(config.Volumes, paths) };
}

function user(rest: string, config: ContainerConfig, { escape }: State): Change {
  return { User: expandWord(rest, environment(config), escape) };
}

function workDir(rest: string, config: ContainerConfig, { escape }: State): Change {
  const path = expandWord(rest, environment(config), escape);
  if (path === '') throw new ChangeError('the directory is empty');
  if (path.startsWith('/')) return { WorkingDir: path };
  return { WorkingDir: posix.resolve('/', config.WorkingDir, path) };
}

/** Keeps the trigger as it is written, after parsing it. */
function onBuild(rest: string, config: ContainerConfig, { escape }: State, line: string): Change {
  const trigger = splitInstruction(rest);
  if (TRIGGERS_REFUSED.includes(trigger.name))
    throw new ChangeError(`${trigger.name} is not allowed as a trigger`);
  // Flags of the trigger take effect when it runs.
  const words = trimSpace(trigger.rest.replace(/^(?:\s*--\S*)+/, ''));
  if (NAMING.includes(trigger.name) && words !== '') rawPairs(trigger.name, words, escape);
  if (LISTING.includes(trigger.name)) jsonList(words);
  return { OnBuild: [...(config.OnBuild ?? []), line.replace(/^[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*/i, '')] };
}

function stopSignal(rest: string, config: ContainerConfig, { escape }: State): Change {
  const signal = expandWord(rest, environment(config), escape);
  if (!isSignal(signal)) throw new ChangeError(`${signal} is not a signal`);
  return { StopSignal: signal };
}

/** Returns a JSON list as it is, and other text as an argument of the shell. */
function commandLine(rest: string, config: ContainerConfig): readonly string[] {
  return jsonList(rest) ?? [...(config.Shell?.length ? config.Shell : DEFAULT_SHELL), rest];
}

/** Returns the JSON array at the beginning of the text, or undefined. The rest of the text is ignored. */
function jsonList(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined;
  let list: unknown;
  try {
    list = JSON.parse(Buffer.from(firstValue(Buffer.from(text))).toString());
  } catch {
    return undefined;
  }
  if (!Array.isArray(list)) return undefined;
  if (!list.every((item) => typeof item === 'string'))
    throw new ChangeError('only strings may be in the list');
  return list;
}

/** Parses `NAME=value …`, or `NAME value` with all the rest as the value, and expands variables. */
function pairs(
  instruction: string,
  rest: string,
  config: ContainerConfig,
  escape: Escape,
): [string, string][] {
  const variables = environment(config);
  return rawPairs(instruction, rest, escape).map(([name, value]) => {
    // Only the written name is checked: its variables may expand to nothing.
    if (name === '') throw new ChangeError('a name is empty');
    return [expandWord(name, variables, escape), expandWord(value, variables, escape)];
  });
}

/** Returns the words as they are written. */
function rawPairs(instruction: string, rest: string, escape: Escape): [string, string][] {
  const words = splitWords(rest, escape);
  const raw: [string, string][] = [];
  if (words[0]?.includes('=') === true) {
    for (const word of words) {
      const equals = word.indexOf('=');
      if (equals < 0) throw new ChangeError(`${word} is not of the form NAME=value`);
      raw.push([word.slice(0, equals), word.slice(equals + 1)]);
    }
  } else {
    const space = WHITE_SPACE.exec(rest);
    if (!space) throw new ChangeError(`${instruction} must have two arguments`);
    raw.push([rest.slice(0, space.index), rest.slice(space.index + space[0].length)]);
  }
  return raw;
}

/** Parses `80`, `80/udp` or `7000-7010/tcp`. */
function ports(spec: string): string[] {
  const [, first = '', last = first, protocol = 'tcp'] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(spec) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === '' || from > to || to > 65535)
    throw new ChangeError(`${spec} is not a port: write PORT[-PORT][/tcp|udp|sctp]`);
  return Array.from({ length: to - from + 1 }, (_, at) => `${from + at}/${protocol.toLowerCase()}`);
}

function environment(config: ContainerConfig): Environment {
  return new Map(
    (config.Env ?? []).map((entry) => {
      const [name = ''] = entry.split('=', 1);
      return [name, entry.slice(name.length + 1)];
    }),
  );
}

function splitOnSpace(text: string): string[] {
  return text.split(WHITE_SPACE).filter((word) => word !== '');
}

function union(set: readonly string[] | null, more: readonly string[]): string[] {
  return [...new Set([...(set ?? []), ...more])].sort(compareBytes);
}
