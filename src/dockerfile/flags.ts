/**
 * Reads the flags of an instruction by their names. Mirrors `moby/buildkit:
 * frontend/dockerfile/instructions/bflag.go`.
 */
import { nearest } from '../core/nearest.ts';
import { WordError } from './word-error.ts';

/** `one` has a value, `many` may be repeated, and `switch` is set, or has `true` or `false` as its value. */
export type FlagKind = 'one' | 'many' | 'switch';

export type Flags<K extends Readonly<Record<string, FlagKind>>> = {
  readonly [N in keyof K]: K[N] extends 'many'
    ? string[]
    : K[N] extends 'switch'
      ? boolean
      : string | undefined;
};

/** @throws {@link WordError} for a flag that is unknown, repeated, or lacks its value. */
export function readFlags<const K extends Readonly<Record<string, FlagKind>>>(
  instruction: string,
  written: readonly string[],
  known: K,
): Flags<K> {
  const found: Record<string, string | boolean | string[] | undefined> = {};
  for (const [name, kind] of Object.entries(known))
    found[name] = kind === 'many' ? [] : kind === 'switch' ? false : undefined;
  const seen = new Set<string>();
  for (const flag of written) {
    const [, name = '', value] = /^--([^=]*)(?:=(.*))?$/s.exec(flag) ?? [];
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) throw unknownFlag(instruction, name, Object.keys(known));
    if (kind !== 'many' && seen.has(name)) throw new WordError(`the flag --${name} is given twice`);
    seen.add(name);
    if (kind === 'switch') found[name] = switchValue(name, value ?? 'true');
    else if (value === undefined) throw new WordError(`the flag --${name} needs a value: --${name}=VALUE`);
    else if (kind === 'many') (found[name] as string[]).push(value);
    else found[name] = value;
  }
  return found as Flags<K>;
}

function switchValue(name: string, value: string): boolean {
  if (value === 'true' || value === 'false') return value === 'true';
  throw new WordError(`the value of --${name} must be true or false, not ${JSON.stringify(value)}`);
}

function unknownFlag(instruction: string, name: string, known: readonly string[]): WordError {
  const near = nearest(name, known);
  const advice = near === undefined ? `${instruction} has ${listOf(known)}` : `did you mean --${near}?`;
  return new WordError(`${instruction} does not have the flag --${name}: ${advice}`);
}

function listOf(known: readonly string[]): string {
  return known.length === 0 ? 'no flags' : known.map((name) => `--${name}`).join(', ');
}
