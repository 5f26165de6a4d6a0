/** RUN as it is written: its command and its flags. */
import { posix } from 'node:path';
import { commandLine } from '../dockerfile/arguments.ts';
import { readFlags } from '../dockerfile/flags.ts';
import { heredocText, startOf } from '../dockerfile/heredocs.ts';
import type { DockerfileInstruction } from '../dockerfile/parse.ts';
import { WordError } from '../dockerfile/word-error.ts';

export type MountType = 'bind' | 'cache' | 'tmpfs' | 'secret';

/** `--mount` of RUN. */
export interface RunMount {
  readonly type: MountType;
  readonly target: string;
  /** The path in the context, or in a stage or image. */
  readonly source: string;
  /** A stage or an image. */
  readonly from: string | undefined;
  /** The name of a cache or secret. */
  readonly id: string;
  /** A secret must be given. */
  readonly required: boolean;
  /** A cache that one command at a time uses. */
  readonly isLocked: boolean;
  /** Bytes of a tmpfs. */
  readonly size: number | undefined;
  /** The flag as it is written. */
  readonly text: string;
}

export interface RunInstruction {
  readonly mounts: readonly RunMount[];
  readonly network: 'none' | 'host' | undefined;
}

const TYPES: readonly string[] = ['bind', 'cache', 'tmpfs', 'secret'] satisfies MountType[];
const MAX_MOUNTS = 100;
/** The keys of each type that have an effect here. */
const KEYS: Readonly<Record<MountType, readonly string[]>> = {
  bind: ['source', 'target', 'from', 'readonly'],
  cache: ['id', 'target', 'sharing'],
  tmpfs: ['target', 'size'],
  secret: ['id', 'target', 'required'],
};
const SAME: Readonly<Record<string, string>> = {
  ...{ src: 'source', dst: 'target', destination: 'target', ro: 'readonly' },
};

/** @throws {@link WordError} for a flag that is wrong or unsupported. */
export function parseRun({ flags }: DockerfileInstruction): RunInstruction {
  const { mount, network } = readFlags('RUN', flags, { mount: 'many', network: 'one' });
  if (mount.length > MAX_MOUNTS) throw new WordError(`RUN has more than ${MAX_MOUNTS} mounts`);
  if (network !== undefined && network !== 'none' && network !== 'host' && network !== 'default')
    throw new WordError(`RUN --network=${network}: use none or host`);
  return { mounts: mount.map(parseMount), network: network === 'default' ? undefined : network };
}

/** Returns the command of RUN. A heredoc alone is a script of the shell; others are part of its command. */
export function runCommand(
  { rest, heredocs }: DockerfileInstruction,
  shell: readonly string[] | null,
): readonly string[] {
  const [only] = heredocs;
  if (only === undefined) return commandLine(rest, shell);
  if (heredocs.length === 1 && startOf(rest, '\\') !== undefined)
    return [...commandLine(heredocText(only), shell)];
  const bodies = heredocs.map(({ content, name }) => `${content}${name}`);
  return commandLine([rest, ...bodies].join('\n'), shell);
}

function parseMount(text: string): RunMount {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const [, written = '', value = 'true'] = /^([^=]*)(?:=(.*))?$/s.exec(part) ?? [];
    const key = SAME[written.toLowerCase()] ?? written.toLowerCase();
    if (fields.has(key)) throw new WordError(`--mount=${text}: ${key} is given twice`);
    fields.set(key, value.replace(/^(["'])(.*)\1$/s, '$2'));
  }
  const type = fields.get('type') ?? 'bind';
  if (!isType(type)) throw new WordError(`--mount=type=${type} is not supported: use ${TYPES.join(', ')}`);
  for (const key of fields.keys())
    if (key !== 'type' && !KEYS[type].includes(key))
      throw new WordError(
        `--mount=${text}: ${key} is not supported for the type ${type}: use ${KEYS[type].join(', ')}`,
      );
  if (fields.has('readonly') && !isTrue(text, 'readonly', fields))
    throw new WordError(`--mount=${text}: a bind is always read-only`);
  const target = targetOf(type, fields);
  if (target === undefined) throw new WordError(`--mount=${text}: target is missing`);
  return {
    ...{ type, target, text, from: fields.get('from') },
    source: posix.join('/', fields.get('source') ?? '/'),
    id: fields.get('id') ?? (type === 'secret' ? posix.basename(target) : target),
    required: isTrue(text, 'required', fields),
    isLocked: isLocked(text, fields.get('sharing')),
    size: sizeOf(text, fields.get('size')),
  };
}

function isLocked(text: string, sharing = 'shared'): boolean {
  if (sharing === 'shared' || sharing === 'locked') return sharing === 'locked';
  throw new WordError(`--mount=${text}: sharing=${sharing} is not supported: use shared or locked`);
}

function isType(text: string): text is MountType {
  return TYPES.includes(text);
}

function targetOf(type: MountType, fields: ReadonlyMap<string, string>): string | undefined {
  const target = fields.get('target');
  if (target !== undefined) return target;
  const id = fields.get('id');
  return type === 'secret' && id !== undefined ? `/run/secrets/${id}` : undefined;
}

function isTrue(text: string, key: string, fields: ReadonlyMap<string, string>): boolean {
  const value = (fields.get(key) ?? 'false').toLowerCase();
  if (['true', '1'].includes(value)) return true;
  if (['false', '0'].includes(value)) return false;
  throw new WordError(`--mount=${text}: ${key} must be true or false`);
}

const UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1 << 10, m: 1 << 20, g: 1 << 30 };

function sizeOf(text: string, size: string | undefined): number | undefined {
  if (size === undefined) return undefined;
  const [, digits = '', unit = ''] = /^(\d{1,12})([bkmg]?)$/i.exec(size) ?? [];
  if (digits === '') throw new WordError(`--mount=${text}: size=${size} is not a size: write 64m or 1g`);
  return Number(digits) * (UNITS[unit.toLowerCase()] ?? 1);
}
