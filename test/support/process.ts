/** Runs the programs that the tests compare with: bytes in, bytes out, without a shell. */
import { spawn } from 'node:child_process';

export interface RunOptions {
  readonly input?: Uint8Array | string;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
}

export interface Ran {
  readonly command: string;
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly bytes: Buffer;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever its exit status. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      timeout: options.timeoutMs ?? 240_000,
      killSignal: 'SIGKILL',
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('error', reject);
    child.stdin.on('error', () => undefined); // a program may end without reading its input
    child.stdin.end(options.input);
    child.on('close', (status, signal) => {
      const bytes = Buffer.concat(out);
      resolve({
        command: [program, ...args].join(' '),
        status,
        signal,
        bytes,
        stdout: bytes.toString(),
        stderr: Buffer.concat(err).toString(),
      });
    });
  });
}

/** Runs a program that must succeed, and returns its output as text. */
export async function must(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  return (await mustRun(program, args, options)).stdout;
}

/** As {@link must}, but returns bytes. */
export async function mustRun(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const ran = await run(program, args, options);
  if (ran.status === 0) return ran;
  throw new Error(describeFailure(ran));
}

/** Describes a failed run: the command, its exit status, and the end of its output. */
export function describeFailure(ran: Ran): string {
  const end = String(ran.status ?? ran.signal);
  return `${ran.command}: exit ${end}\n${ran.stdout.slice(-2000)}\n${ran.stderr.slice(-4000)}`;
}
