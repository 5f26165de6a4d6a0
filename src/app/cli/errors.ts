/**
 * How a failed command ends: with one line on stderr, `layerstack: ERR_CODE: what, which object, what to do`,
 * and with an exit status. 1: the command failed, or a signal stopped it. 2: the command line is wrong.
 */
import { firstError, isError, isSystemError, LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { UsageError } from './command.ts';

export interface Ending {
  readonly line: string;
  readonly status: number;
}

/** Returns how to end after an error; `signal` is the received signal, if any. */
export function describeError(thrown: unknown, signal?: string): Ending {
  const error = firstError(thrown);
  if (error instanceof UsageError) return { line: line('ERR_USAGE', error.message), status: 2 };
  const code = codeOf(error);
  if (code === 'ERR_ABORTED' && signal !== undefined)
    return { line: line(code, `stopped by ${signal}; no unfinished change is left behind`), status: 1 };
  return { line: line(code, messageOf(error)), status: 1 };
}

function codeOf(error: unknown): ErrorCode {
  if (LayerstackError.is(error)) return error.code;
  if (isSystemError(error, 'ENOSPC', 'EDQUOT')) return 'ERR_NO_SPACE';
  if (isSystemError(error)) return 'ERR_SYSTEM';
  return isError(error) && error.name === 'AbortError' ? 'ERR_ABORTED' : 'ERR_INTERNAL';
}

function messageOf(error: unknown): string {
  const message = isError(error) ? error.message : String(error);
  if (LayerstackError.is(error) || isSystemError(error)) return message;
  return `${message} (this is a bug in layerstack; LAYERSTACK_DEBUG=1 shows where)`;
}

/** Returns a line about a failure after the change itself was made. */
export function aftermathLine(message: string): string {
  return `layerstack: ${oneLine(message)}`;
}

function line(code: string, message: string): string {
  return `layerstack: ${code}: ${oneLine(message)}`;
}

function oneLine(message: string): string {
  // File names and fields of images get into messages. They must not break the line or control the terminal.
  // eslint-disable-next-line no-control-regex -- control characters are the point
  return message.replace(/\s*\n\s*/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
