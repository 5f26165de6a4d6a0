/** Finds and runs programs of the host. */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { throwIfAborted } from '../core/abort.ts';

const MAX_OUTPUT = 64 << 10;

/**
 * Returns the path of a program, or undefined. Also searches the directories of the system. Ignores relative
 * directories in $PATH, so that no program of the working directory is run.
 */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return directories
    .filter(isAbsolute)
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export interface ProgramOptions {
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** The first is fd 3 of the program. */
  readonly fds: readonly number[];
  readonly input?: string;
  /** Keeps what it writes to stdout. Default false. */
  readonly output?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface ProgramEnd {
  /** Null where a signal ended it. */
  readonly status: number | null;
  /** The first 64 KiB of its output, if the options ask for it. */
  readonly output: string;
  /** The first 64 KiB that it writes to stderr. */
  readonly errors: string;
}

/**
 * Runs a program to its end. When `signal` fires, it kills the program.
 * @throws {@link LayerstackError} ERR_ABORTED; system errors where the program does not start.
 */
export async function runProgram(
  path: string,
  args: readonly string[],
  { env, fds, input = '', output: wanted = false, signal }: ProgramOptions,
): Promise<ProgramEnd> {
  throwIfAborted(signal);
  const end = await new Promise<ProgramEnd>((resolve, reject) => {
    const child = spawn(path, args, { env, stdio: ['pipe', wanted ? 'pipe' : 'ignore', 'pipe', ...fds] });
    let [output, errors] = ['', ''];
    const kill = (): boolean => child.kill('SIGKILL');
    signal?.addEventListener('abort', kill, { once: true });
    child.stdout?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString('utf8')).slice(0, MAX_OUTPUT);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString('utf8')).slice(0, MAX_OUTPUT);
    });
    // The program may end without reading its input, which is not an error.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    child.on('error', reject);
    child.on('close', (status) => {
      signal?.removeEventListener('abort', kill);
      resolve({ status, output, errors });
    });
  });
  throwIfAborted(signal);
  return end;
}
