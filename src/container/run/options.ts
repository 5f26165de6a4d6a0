/** How a command is run, and how it ended. */
import { isatty } from 'node:tty';
import { LayerstackError } from '../../core/errors.ts';
import type { CommandEnd, RuntimeRun } from './process.ts';
import type { RunStreams } from './streams.ts';

/** A command that runs. */
export interface StartedRun {
  /** The id of the container, in layerstack and in the runtime. */
  readonly id: string;
  /** The image's volumes for which nothing is mounted. */
  readonly leftOut: readonly string[];
  /** Sends a signal to the command. */
  kill(signal: NodeJS.Signals): void;
}

export interface ProcessOptions {
  /** A runtime by name or path. Default: `runc`, or `crun` where runc is not installed. */
  readonly runtime?: string | undefined;
  /** With a terminal: the command reads from it. Default false. */
  readonly interactive?: boolean | undefined;
  /** For a command without a terminal. Default: it reads nothing, and its output is dropped. */
  readonly streams?: RunStreams | undefined;
  /** Called when the runtime is started. */
  readonly onStart?: ((started: StartedRun) => void) | undefined;
  /**
   * Ends the command: by SIGTERM, and after ten seconds by SIGKILL. The call then rejects with ERR_ABORTED.
   */
  readonly signal?: AbortSignal | undefined;
}

/** A command that has run. `status` is undefined for one that runs in the background. */
export interface RunResult {
  /** The id of the container, in layerstack and in the runtime. */
  readonly id: string;
  /** Its exit status; 128 + n where the signal n ended it. */
  readonly status: number | undefined;
  /** The signal that a status above 128 stands for. A command may also exit with such a status by itself. */
  readonly signal: NodeJS.Signals | undefined;
}

export function runResult(id: string, end: CommandEnd, detach: boolean): RunResult {
  return detach ? { id, status: undefined, signal: undefined } : { id, ...end };
}

/**
 * Returns what the command reads and writes.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT where it wants a terminal, and this process has none.
 */
export function ioOf(
  tty: boolean,
  {
    interactive = false,
    streams,
    detach = false,
  }: ProcessOptions & { readonly detach?: boolean | undefined },
): RuntimeRun['io'] {
  if (!tty) return detach ? 'none' : (streams ?? {});
  if (detach)
    throw invalid('a command in the background cannot have a terminal: leave out tty (-t) or detach (-d)');
  if (streams !== undefined)
    throw invalid('a command with a terminal cannot have streams: leave one of them out');
  if (interactive && !isatty(0))
    throw invalid(
      'the input of this process is not a terminal: leave out tty (-t), or start it on a terminal',
    );
  if (!interactive && !isatty(1))
    throw invalid(
      'the output of this process is not a terminal: leave out tty (-t), or start it on a terminal',
    );
  return interactive ? 'terminal' : 'terminal without input';
}

function invalid(message: string): LayerstackError {
  return new LayerstackError('ERR_INVALID_ARGUMENT', message, { key: 'options.tty' });
}
