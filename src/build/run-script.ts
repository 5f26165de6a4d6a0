/**
 * A heredoc of RUN whose first line names its interpreter (`#!/usr/bin/python3`). It is a file that is
 * bound into the container, and that the shell starts. Mirrors `moby/buildkit:
 * frontend/dockerfile/dockerfile2llb/convert.go`.
 */
import { join } from 'node:path';
import type { MountRequest } from '../container/spec/settings.ts';
import { DEFAULT_SHELL } from '../dockerfile/arguments.ts';
import type { DockerfileInstruction } from '../dockerfile/parse.ts';
import { call, native } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { makeScratch } from './context/scratch.ts';
import { soleHeredoc } from './run-instruction.ts';

/** Below /dev, which is not part of the layer. */
const TARGET = '/dev/pipes/script';
const FILE = 'script';

export interface RunScript extends AsyncDisposable {
  readonly command: readonly string[];
  readonly mount: MountRequest;
}

/** Writes the script until it is disposed; undefined for another form of RUN. Nothing is synced. */
export async function runScript(
  instruction: DockerfileInstruction,
  shell: readonly string[] | null,
  root: Root,
): Promise<RunScript | undefined> {
  const data = soleHeredoc(instruction);
  if (data?.startsWith('#!') !== true) return undefined;
  const scratch = await makeScratch(root);
  const script: RunScript = {
    command: [...(shell?.length ? shell : DEFAULT_SHELL), TARGET],
    mount: { Type: 'bind', Source: join(scratch.path, FILE), Target: TARGET, ReadOnly: true },
    [Symbol.asyncDispose]: scratch.drop,
  };
  try {
    await call(native.batch(scratch.path, [{ op: 'write', path: FILE, data, mode: 0o755 }]));
    return script;
  } catch (error) {
    await scratch.drop();
    throw error;
  }
}
