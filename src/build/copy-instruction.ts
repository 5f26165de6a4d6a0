/** COPY and ADD as they are written. */
import { jsonList, splitOnSpace } from '../dockerfile/arguments.ts';
import { readFlags } from '../dockerfile/flags.ts';
import type { Heredoc } from '../dockerfile/heredocs.ts';
import type { DockerfileInstruction } from '../dockerfile/parse.ts';
import { WordError } from '../dockerfile/word-error.ts';

export interface CopyInstruction {
  readonly name: 'COPY' | 'ADD';
  /** A stage or an image; undefined for the context. */
  readonly from: string | undefined;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly checksum: string | undefined;
  readonly exclude: readonly string[];
  readonly parents: boolean;
  /** As they are written. */
  readonly sources: readonly string[];
  readonly heredocs: readonly Heredoc[];
  readonly destination: string;
}

const COPY_FLAGS = {
  from: 'one',
  chown: 'one',
  chmod: 'one',
  exclude: 'many',
  link: 'switch',
  parents: 'switch',
} as const;
const ADD_FLAGS = {
  chown: 'one',
  chmod: 'one',
  checksum: 'one',
  exclude: 'many',
  link: 'switch',
} as const;

/** @throws {@link WordError} for a wrong flag, or too few arguments. */
export function parseCopy({ name, flags, rest, heredocs }: DockerfileInstruction): CopyInstruction {
  const isAdd = name === 'ADD';
  const { chown, chmod, exclude, ...own } = isAdd
    ? { from: undefined, parents: false, ...readFlags(name, flags, ADD_FLAGS) }
    : { checksum: undefined, ...readFlags(name, flags, COPY_FLAGS) };
  const { from, parents, checksum } = own;
  const words = jsonList(rest) ?? splitOnSpace(rest);
  if (words.length < 2)
    throw new WordError(
      `${name} requires at least two arguments, but only ${words.length === 1 ? 'one was' : 'none were'} provided. ` +
        'Destination could not be determined',
    );
  const written = words.slice(0, -1);
  return {
    ...{ name: isAdd ? 'ADD' : 'COPY', from, chown, chmod, checksum, exclude, parents, heredocs },
    sources: written.filter((word) => heredocs.length === 0 || !/^\d*<<-?[^<]/.test(word)),
    destination: words.at(-1) ?? '',
  };
}
