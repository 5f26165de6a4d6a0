/**
 * What a command has to say beside its result: warnings that what was asked for is done, but something behind it is not
 * (system/aftermath.ts). All others are for the log alone.
 */
import { isError } from '../../core/errors.ts';
import { DONE_BUT } from '../../system/aftermath.ts';
import { defaultLogger, type Logger } from '../../system/log.ts';

/** The default log, which calls `onTrouble` with what is not done, and why. */
export function troubleLog(onTrouble: (message: string) => void): Logger {
  return {
    ...defaultLogger,
    warn(message, facts = {}) {
      defaultLogger.warn(message, facts);
      if (!message.startsWith(DONE_BUT)) return;
      const { error } = facts;
      const why = isError(error) ? error.message : error;
      onTrouble(message.slice(DONE_BUT.length) + (why === undefined ? '' : `: ${String(why)}`));
    },
  };
}
