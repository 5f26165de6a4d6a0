/** The signals of `run`: they stop its preparations; after the start they go to its command. */
import type { StartedRun } from '../../container/run/options.ts';

/** Signals that docker's client passes on, as far as Node can receive them. */
const FORWARDED = [
  ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const),
  ...(['SIGCONT', 'SIGWINCH', 'SIGALRM', 'SIGTSTP'] as const),
];

export interface ForwardedSignals extends AsyncDisposable {
  /** Fires when a signal comes before the command has started. */
  readonly preparing: AbortSignal;
  /** Sends every signal from now on to the command. */
  forwardTo(started: StartedRun): void;
}

/** @param stop - fires on the first SIGINT or SIGTERM */
export function forwardSignals(stop: AbortSignal): ForwardedSignals {
  const preparing = new AbortController();
  const abort = (): void => preparing.abort(stop.reason);
  stop.addEventListener('abort', abort, { once: true });
  if (stop.aborted) abort();
  let forward: ((signal: NodeJS.Signals) => void) | undefined;
  return {
    preparing: preparing.signal,
    forwardTo(started) {
      stop.removeEventListener('abort', abort);
      forward = (signal) => started.kill(signal);
      for (const signal of FORWARDED) process.on(signal, forward);
    },
    async [Symbol.asyncDispose]() {
      stop.removeEventListener('abort', abort);
      if (forward !== undefined) for (const signal of FORWARDED) process.off(signal, forward);
    },
  };
}
