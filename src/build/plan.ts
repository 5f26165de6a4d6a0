/**
 * Plans a build: the stages of a Dockerfile, their bases, and the other stages that each of them reads. All
 * instructions are checked before anything is pulled or run.
 */
import { nearest } from '../core/nearest.ts';
import { splitWords, expandWord } from '../dockerfile/words.ts';
import { rawPairs, splitOnSpace } from '../dockerfile/arguments.ts';
import { readFlags } from '../dockerfile/flags.ts';
import { CONFIG_INSTRUCTIONS } from '../dockerfile/instructions.ts';
import type { Dockerfile, DockerfileInstruction } from '../dockerfile/parse.ts';
import { SourceError } from '../dockerfile/source-error.ts';
import { WordError } from '../dockerfile/word-error.ts';
import type { BuildArgs } from './args.ts';
import { parseCopy } from './copy-instruction.ts';
import { parseRun } from './run-instruction.ts';

export interface StagePlan {
  readonly index: number;
  /** In lower case. */
  readonly name: string | undefined;
  /** `scratch`, the name of an image, or an earlier stage. */
  readonly base: string | StagePlan;
  readonly platform: string | undefined;
  readonly from: DockerfileInstruction;
  /** The instructions after FROM. */
  readonly instructions: readonly DockerfileInstruction[];
  /** The stages that it needs, by their numbers. */
  readonly needs: ReadonlySet<number>;
}

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/;
const MAX_STAGES = 1000;

/**
 * Returns the stages in order. Adds the ARG before the first FROM to `args`.
 * @throws {@link SourceError} for an instruction that is wrong.
 */
export function planStages({ escape, instructions }: Dockerfile, args: BuildArgs): StagePlan[] {
  const stages: StagePlan[] = [];
  let first = 0;
  for (; first < instructions.length; first++) {
    const instruction = instructions[first];
    if (instruction === undefined || instruction.name === 'FROM') break;
    at(instruction, () => globalArg(instruction, escape, args));
  }
  for (let start = first; start < instructions.length;) {
    const from = instructions[start];
    if (from === undefined) break;
    const next = instructions.findIndex(({ name }, index) => index > start && name === 'FROM');
    const end = next < 0 ? instructions.length : next;
    const body = instructions.slice(start + 1, end);
    stages.push(at(from, () => stageOf(from, body, stages, { escape, args })));
    start = end;
  }
  if (stages.length === 0) throw new WordError('it has no FROM: begin it with FROM IMAGE, or FROM scratch');
  return stages;
}

/** Returns the stage that is built. @throws {@link WordError} */
export function findTarget(stages: readonly StagePlan[], target: string | undefined): StagePlan {
  if (target === undefined || target === '') return stages.at(-1) as StagePlan;
  const found = findStage(stages, target);
  if (found !== undefined) return found;
  const names = stages.flatMap(({ name }) => name ?? []);
  const near = nearest(target, names);
  throw new WordError(
    `target stage ${JSON.stringify(target)} could not be found${near === undefined ? '' : `: did you mean ${near}?`}`,
  );
}

/** Returns the stage with a name or number; the last one of several. */
export function findStage(stages: readonly StagePlan[], text: string): StagePlan | undefined {
  const named = stages.findLast(({ name }) => name === text.toLowerCase());
  return named ?? (/^\d{1,4}$/.test(text) ? stages[Number(text)] : undefined);
}

/** Returns the stage and all that it needs, by their numbers. */
export function neededBy(target: StagePlan, stages: readonly StagePlan[]): Set<number> {
  const found = new Set([target.index]);
  // A set also visits what is added to it.
  for (const index of found) for (const need of stages[index]?.needs ?? []) found.add(need);
  return found;
}

/** Checks the name and the form of an instruction of a stage. @throws {@link WordError} */
export function checkInstruction(instruction: DockerfileInstruction): void {
  const { name, rest, flags, heredocs } = instruction;
  if (rest === '' && heredocs.length === 0) throw new WordError(`${name} needs an argument`);
  if (name === 'RUN') parseRun(instruction);
  else if (name === 'COPY' || name === 'ADD') parseCopy(instruction);
  else if (name === 'ARG' || name === 'MAINTAINER') readFlags(name, flags, {});
  else if (!CONFIG_INSTRUCTIONS.has(name)) throw unknownInstruction(name);
}

function unknownInstruction(name: string): WordError {
  const near = nearest(name, [...CONFIG_INSTRUCTIONS.keys(), 'FROM', 'RUN', 'COPY', 'ADD', 'ARG']);
  return new WordError(`unknown instruction: ${name}${near === undefined ? '' : `. Did you mean ${near}?`}`);
}

function globalArg(instruction: DockerfileInstruction, escape: Dockerfile['escape'], args: BuildArgs): void {
  if (instruction.name !== 'ARG') {
    if (!isKnown(instruction.name)) throw unknownInstruction(instruction.name);
    throw new WordError(`${instruction.name} is before the first FROM: only ARG may be there`);
  }
  for (const [name, value] of declarations(instruction, escape))
    args.addGlobal(name, value && expandWord(value, args.global, escape));
}

function isKnown(name: string): boolean {
  return CONFIG_INSTRUCTIONS.has(name) || ['RUN', 'COPY', 'ADD', 'MAINTAINER'].includes(name);
}

/** Returns the names of an ARG, and their values as they are written. @throws {@link WordError} */
export function declarations(
  { rest, flags }: DockerfileInstruction,
  escape: Dockerfile['escape'],
): [name: string, value: string | undefined][] {
  readFlags('ARG', flags, {});
  if (rest === '') throw new WordError('ARG needs an argument');
  return splitWords(rest, escape).map((word) => {
    if (!word.includes('=')) return [word, undefined];
    const [[name, value] = ['', '']] = rawPairs('ARG', word, escape);
    if (name === '') throw new WordError('a name is empty');
    return [name, value];
  });
}

function stageOf(
  from: DockerfileInstruction,
  body: readonly DockerfileInstruction[],
  before: readonly StagePlan[],
  { escape, args }: { readonly escape: Dockerfile['escape']; readonly args: BuildArgs },
): StagePlan {
  if (before.length >= MAX_STAGES) throw new WordError(`it has more than ${MAX_STAGES} stages`);
  const { platform } = readFlags('FROM', from.flags, { platform: 'one' });
  const words = splitOnSpace(from.rest);
  const [image = '', as, alias] = words;
  if ((words.length !== 1 && words.length !== 3) || (as !== undefined && as.toUpperCase() !== 'AS'))
    throw new WordError('FROM requires either one argument, or three: FROM <source> [AS <name>]');
  const name = alias?.toLowerCase();
  if (name !== undefined && !STAGE_NAME.test(name))
    throw new WordError(
      `invalid name for build stage: ${JSON.stringify(alias)}, name can't start with a number or contain symbols`,
    );
  const expand = (word: string): string => expandWord(word, args.global, escape);
  const wanted = expand(image);
  if (wanted === '') throw new WordError(`base name (${image}) should not be blank`);
  const base = before.findLast((stage) => stage.name === wanted.toLowerCase()) ?? wanted;
  const needs = new Set<number>(typeof base === 'string' ? [] : [base.index]);
  for (const instruction of body)
    at(instruction, () => {
      checkInstruction(instruction);
      for (const source of sourcesOf(instruction)) {
        const stage = stageBefore(before, name, source);
        if (stage !== undefined) needs.add(stage.index);
      }
    });
  return {
    ...{ index: before.length, name, base, from, instructions: body, needs },
    platform: platform === undefined ? undefined : expand(platform) || undefined,
  };
}

/** Returns the stages and images from which an instruction reads files. */
function sourcesOf(instruction: DockerfileInstruction): string[] {
  if (instruction.name === 'COPY') return [parseCopy(instruction).from ?? []].flat();
  if (instruction.name !== 'RUN') return [];
  return parseRun(instruction).mounts.flatMap(({ from }) => from ?? []);
}

/**
 * Returns the earlier stage that a name or number means; undefined for an image.
 * @throws {@link WordError} for a stage that reads itself, or for the number of a later one.
 */
export function stageBefore(
  before: readonly StagePlan[],
  own: string | undefined,
  text: string,
): StagePlan | undefined {
  const found = findStage(before, text);
  if (found !== undefined) return found;
  if (text.toLowerCase() === own || text === String(before.length))
    throw new WordError(`the stage ${text} depends on itself`);
  if (/^\d{1,4}$/.test(text))
    throw new WordError(
      `invalid from flag value ${text}: only the stages 0 to ${before.length - 1} come before`,
    );
  return undefined;
}

function at<T>({ at: line }: DockerfileInstruction, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof WordError) throw new SourceError(line, error.message, undefined, { cause: error });
    throw error;
  }
}
