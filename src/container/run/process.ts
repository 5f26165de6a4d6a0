/**
 * Runs a runtime to its end. It has a session of its own, so a key on the terminal signals layerstack alone,
 * which passes each signal on once.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { basename } from 'node:path';
import { LayerstackError } from '../../core/errors.ts';
import { runtimeEnvironment } from './runtime.ts';
import { RunPipes, type RunStreams } from './streams.ts';

/** How a command ended. */
export interface CommandEnd {
  /** Its exit status; 128 + n where the signal n ended it. */
  readonly status: number;
  /** The signal of a status above 128. A command may also exit with such a status by itself. */
  readonly signal: NodeJS.Signals | undefined;
}

export interface RuntimeRun {
  /** Absolute path of the runtime. */
  readonly runtime: string;
  readonly args: readonly string[];
  /** `terminal`: this process's own, with its input or without. `none`: neither input nor output. */
  readonly io: RunStreams | 'none' | 'terminal' | 'terminal without input';
  /** An fd that the runtime inherits, and its container does not. */
  readonly lockFd: number;
  /** Called when the runtime has started, with a function that sends a signal to it. */
  readonly onSpawn: (kill: (signal: NodeJS.Signals) => void) => void;
}

/** How a runtime ended. */
export interface RuntimeEnd extends CommandEnd {
  /** A signal ended the runtime itself, so that it may have left its container. */
  readonly killed: boolean;
}

const SIGNALS = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);
/** The statuses of a command that a signal has ended. */
const SIGNALLED = 128;

/**
 * Resolves when the runtime has ended, and its output is passed on.
 * @throws {@link LayerstackError} ERR_RUNTIME_NOT_FOUND where the runtime cannot be executed.
 */
export async function runRuntime({ runtime, args, io, lockFd, onSpawn }: RuntimeRun): Promise<RuntimeEnd> {
  const pipes = typeof io === 'string' ? undefined : new RunPipes(io);
  const stdio = pipes?.stdio ?? STDIO[io as keyof typeof STDIO];
  const env = runtimeEnvironment();
  const child = spawn(runtime, args, { env, detached: true, stdio: [...stdio, lockFd] });
  const ended = endOf(child, runtime);
  const passed = pipes?.start();
  try {
    if (child.pid !== undefined) onSpawn((signal) => void child.kill(signal));
    return await ended;
  } catch (error) {
    // The root file system must not be removed under a runtime.
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
    throw error;
  } finally {
    pipes?.end();
    await passed;
  }
}

const STDIO = {
  none: ['ignore', 'ignore', 'ignore'],
  terminal: ['inherit', 'inherit', 'inherit'],
  'terminal without input': ['ignore', 'inherit', 'inherit'],
} as const;

function endOf(child: ChildProcess, runtime: string): Promise<RuntimeEnd> {
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => {
      const message = `${basename(runtime)} cannot be started: ${cause.message}`;
      reject(new LayerstackError('ERR_RUNTIME_NOT_FOUND', message, { path: runtime, cause }));
    });
    child.on('exit', (status, signal) => {
      const code = status ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]);
      resolve({ status: code, signal: SIGNALS.get(code - SIGNALLED), killed: status === null });
    });
  });
}
