/** An OCI runtime of the host, and its commands for containers of dead processes. */
import { accessSync, constants } from 'node:fs';
import { basename, resolve } from 'node:path';
import * as json from '../../core/json.ts';
import { LayerstackError } from '../../core/errors.ts';
import { findProgram, runProgram, type ProgramEnd } from '../../system/programs.ts';

/** The runtimes that are looked for, in this order. */
export const RUNTIMES = ['runc', 'crun'] as const;

/** Variables by which a runtime would take the sockets of a service, or report to its manager. */
const OF_A_SERVICE: ReadonlySet<string> = new Set([
  'NOTIFY_SOCKET',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
]);

const MAX_STATE_BYTES = 64 << 10;
const decodeState = json.object({ status: json.string });

/**
 * Returns the path of a runtime: of the given name or path, or of the first one that is installed.
 * @throws {@link LayerstackError} ERR_RUNTIME_NOT_FOUND
 */
export function findRuntime(given?: string): string {
  if (given === undefined) {
    const found = RUNTIMES.map(findProgram).find((path) => path !== undefined);
    if (found !== undefined) return found;
    throw new LayerstackError(
      'ERR_RUNTIME_NOT_FOUND',
      'no runtime is installed: install runc or crun, or name the path of a runtime (--runtime)',
    );
  }
  const found = given.includes('/') ? executable(resolve(given)) : findProgram(given);
  if (found !== undefined) return found;
  throw new LayerstackError(
    'ERR_RUNTIME_NOT_FOUND',
    `the runtime ${given} is not installed, or cannot be executed: install it, or name another one (--runtime)`,
    { path: given },
  );
}

function executable(path: string): string | undefined {
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}

/** Returns the environment of a runtime. */
export function runtimeEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined || OF_A_SERVICE.has(name) ? [] : [[name, value] as const],
  );
  return Object.fromEntries(entries);
}

/** Returns whether a runtime still has a container with a process. */
export async function isRunning(runtime: string, id: string): Promise<boolean> {
  const { status, output } = await command(runtime, ['state', id]);
  if (status !== 0) return false;
  const state = json.decodeJson(decodeState, Buffer.from(output), {
    what: `the state of container ${id} that ${basename(runtime)} reports`,
    code: 'ERR_RUNTIME',
    maxBytes: MAX_STATE_BYTES,
  });
  return state.status !== 'stopped';
}

/** Kills the processes of a container. A container without one is accepted. */
export async function killContainer(runtime: string, id: string): Promise<void> {
  await command(runtime, ['kill', id, 'KILL']);
}

/** Lets a runtime kill and forget a container. A missing one is accepted. */
export async function forgetContainer(runtime: string, id: string): Promise<void> {
  await command(runtime, ['delete', '--force', id]);
}

function command(runtime: string, args: readonly string[]): Promise<ProgramEnd> {
  return runProgram(runtime, args, { env: runtimeEnvironment(), fds: [], output: true });
}
