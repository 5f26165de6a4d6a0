/**
 * Collects the failures of the aftermath that a command prints beside its result: the change was made, but a
 * later step failed (system/aftermath.ts). All other warnings go to the log alone.
 */
import { isError } from '../../core/errors.ts';
import { DONE_BUT } from '../../system/aftermath.ts';
import { defaultLogger, type Logger } from '../../system/log.ts';

/** Returns the default log. It also calls `onFailure` with the step that failed, and why. */
export function aftermathLog(onFailure: (message: string) => void): Logger {
  return {
    ...defaultLogger,
    warn(message, facts = {}) {
      defaultLogger.warn(message, facts);
      if (!message.startsWith(DONE_BUT)) return;
      const { error } = facts;
      const why = isError(error) ? error.message : error;
      onFailure(message.slice(DONE_BUT.length) + (why === undefined ? '' : `: ${String(why)}`));
    },
  };
}
