/** The declarations of the verbs in the form that a shell's completion needs. */
import {
  GLOBAL_OPTIONS,
  kindOf,
  type Command,
  type Declaration,
  type OptionSpecs,
  type ValueKind,
} from './command.ts';

/** An option as a shell sees it. */
export interface ShellOption {
  /** `--input`, `-i`. */
  readonly names: readonly string[];
  readonly help: string;
  /** The name of its value; undefined where it takes none. */
  readonly value: string | undefined;
  readonly kind: ValueKind;
  readonly multiple: boolean;
}

export function shellOptions(specs: OptionSpecs): ShellOption[] {
  return Object.entries(specs).map(([name, spec]) => ({
    names: [`--${name}`, ...(spec.short === undefined ? [] : [`-${spec.short}`])],
    help: spec.help,
    value: spec.type === 'string' ? (spec.value ?? 'VALUE') : undefined,
    kind: kindOf(spec),
    multiple: spec.multiple === true,
  }));
}

/**
 * Returns the options of a verb, the global ones last. An option of the verb replaces the global one of its
 * name.
 */
export function optionsOf({ command }: Declaration): ShellOption[] {
  const global = Object.entries(GLOBAL_OPTIONS).filter(([name]) => !Object.hasOwn(command.options, name));
  return shellOptions({ ...command.options, ...(Object.fromEntries(global) as OptionSpecs) });
}

/** Returns what the operand at a position names; undefined where the command takes none there. */
export function operandKind(
  { operands: { max, kinds = [] } }: Command,
  position: number,
): ValueKind | undefined {
  return position < max ? (kinds[position] ?? kinds.at(-1) ?? 'none') : undefined;
}
