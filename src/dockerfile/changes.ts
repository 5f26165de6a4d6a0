/**
 * Applies Dockerfile instructions to a container config, in order and with Dockerfile's grammar, for
 * `--change` of commit and import. Mirrors `moby/moby: builder/dockerfile/builder.go` (BuildFromConfig) at
 * v20.10, which refuses STOPSIGNAL. HEALTHCHECK and SHELL are not supported.
 */
import { LayerstackError } from '../core/errors.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { applyInstruction, CONFIG_INSTRUCTIONS, type InstructionState } from './instructions.ts';
import { parseDockerfile, type DockerfileInstruction } from './parse.ts';
import { SourceError } from './source-error.ts';
import { WordError } from './word-error.ts';

const CHANGES = [...CONFIG_INSTRUCTIONS.keys()].filter((name) => name !== 'HEALTHCHECK' && name !== 'SHELL');

/**
 * Returns `config` after the instructions.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT naming the instruction that is unknown or malformed.
 */
export function applyChanges(config: ContainerConfig, changes: readonly string[]): ContainerConfig {
  if (changes.length === 0) return config;
  const text = changes.join('\n');
  const { escape, instructions } = explained(text, () => parseDockerfile(text));
  const state: InstructionState = { escape, cmdSet: false, args: new Map() };
  const changed = instructions.reduce(
    (current, each) => ({ ...current, ...explained(each.line, () => applyOne(each, current, state)) }),
    config,
  );
  // A commit writes an empty entrypoint as none.
  return changed.Entrypoint?.length === 0 ? { ...changed, Entrypoint: null } : changed;
}

function applyOne(
  instruction: DockerfileInstruction,
  config: ContainerConfig,
  state: InstructionState,
): Partial<ContainerConfig> {
  if (!CHANGES.includes(instruction.name)) throw new WordError(`it must be one of ${CHANGES.join(', ')}`);
  return applyInstruction(instruction, config, state).change;
}

function explained<T>(text: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof SourceError || error instanceof WordError)) throw error;
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `invalid change ${JSON.stringify(text)}: ${error.message}`,
      { found: text },
    );
  }
}
