/** Starts the bundle of one run, and waits for its command. */
import { basename } from 'node:path';
import { abortError, throwIfAborted } from '../../core/abort.ts';
import { LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { readLastError, readPid } from './directory.ts';
import { runRuntime, type CommandEnd, type RuntimeRun } from './process.ts';
import { forgetContainer, killContainer } from './runtime.ts';

/** How long an aborted command has to end after SIGTERM, in milliseconds, as `docker stop` does. */
const GRACE_MS = 10_000;

/** The files of a run, and the runtime that starts it. */
export interface Run {
  /** The id of the container in the runtime. */
  readonly id: string;
  readonly runtime: string;
  /** The bundle. */
  readonly path: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly lockFd: number;
}

export interface StartOptions {
  readonly io: RuntimeRun['io'];
  readonly detach: boolean;
  /** The runtime needs it for a cgroup in a slice of systemd. */
  readonly systemdCgroup: boolean;
  readonly signal: AbortSignal | undefined;
  /** @see RunOptions.onStart */
  readonly onStart: (kill: (signal: NodeJS.Signals) => void) => void;
}

/**
 * Resolves when the command has ended, or with `detach` when it has started. The runtime then has forgotten
 * the container.
 * @throws {@link LayerstackError} ERR_RUNTIME, ERR_COMMAND_NOT_FOUND and ERR_COMMAND_DENIED where the command
 *   does not start, ERR_RUNTIME_NOT_FOUND, ERR_ABORTED.
 */
export async function startRun(run: Run, options: StartOptions): Promise<CommandEnd> {
  const { signal, detach } = options;
  throwIfAborted(signal);
  let grace: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  try {
    const {
      status,
      signal: by,
      killed,
    } = await runRuntime({
      ...{ runtime: run.runtime, args: runtimeArgs(run, options), io: options.io, lockFd: run.lockFd },
      onSpawn(kill) {
        stop = () => {
          kill('SIGTERM');
          grace = setTimeout(() => void killContainer(run.runtime, run.id).catch(() => undefined), GRACE_MS);
        };
        signal?.addEventListener('abort', stop, { once: true });
        options.onStart(kill);
      },
    });
    const isStarted = readPid(run.pidFile) !== undefined;
    const isAborted = signal?.aborted === true;
    // A runtime that detaches does not pass a signal on: it may have started the command all the same.
    if (killed || (detach && (!isStarted || isAborted))) await forgetContainer(run.runtime, run.id);
    if (isAborted) throw abortError(signal);
    if (killed ? detach : !isStarted) throw startError(run);
    return { status, signal: by };
  } finally {
    clearTimeout(grace);
    if (stop) signal?.removeEventListener('abort', stop);
  }
}

function runtimeArgs(run: Run, { detach, systemdCgroup }: StartOptions): string[] {
  return [
    ...['--log', run.logFile, '--log-format', 'json'],
    ...(systemdCgroup ? ['--systemd-cgroup'] : []),
    ...['run', '--bundle', run.path, '--pid-file', run.pidFile],
    ...(detach ? ['--detach'] : []),
    run.id,
  ];
}

/** Returns the error of a runtime that has started no process. */
function startError({ runtime, id, logFile }: Run): LayerstackError {
  const lastError = readLastError(logFile);
  const name = basename(runtime);
  // runc begins with words that the error has already.
  const why =
    lastError.replace(/^runc run failed: (?:unable to start container process: )?/, '') ||
    'it gives no reason';
  return new LayerstackError(startErrorCode(lastError), `${name} cannot start the container: ${why}`, { id });
}

/** Distinguishes errors of the command from other errors, by the words of runc and crun. */
export function startErrorCode(message: string): ErrorCode {
  if (!/\bexec(?:utable)?\b/i.test(message)) return 'ERR_RUNTIME';
  if (/not found|no such file or directory/i.test(message)) return 'ERR_COMMAND_NOT_FOUND';
  if (/permission denied|not permitted|is a directory|format error/i.test(message))
    return 'ERR_COMMAND_DENIED';
  return 'ERR_RUNTIME';
}
