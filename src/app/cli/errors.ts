/**
 * How a command ends badly: one line on stderr, `layerstack: ERR_CODE: what, which object, what to do`, and the exit
 * status: 1 failed (also when a signal stopped it), 2 misused.
 */
import { firstError, isError, isSystemError, LayerstackError, type ErrorCode } from '../../core/errors.ts';
import { UsageError } from './command.ts';

export interface Ending {
  readonly line: string;
  readonly status: number;
}

/** How to end after `error`; `signal` is the one that was received, if any. */
export function describeError(thrown: unknown, signal?: string): Ending {
  const error = firstError(thrown);
  if (error instanceof UsageError) return { line: line('ERR_USAGE', error.message), status: 2 };
  const code = codeOf(error);
  if (code === 'ERR_ABORTED' && signal !== undefined)
    return { line: line(code, `stopped by ${signal}; nothing half done was left behind`), status: 1 };
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

/** A line about what is done, but not in every respect. */
export function troubleLine(message: string): string {
  return `layerstack: ${oneLine(message)}`;
}

function line(code: string, message: string): string {
  return `layerstack: ${code}: ${oneLine(message)}`;
}

function oneLine(message: string): string {
  // File names and image fields end up in messages; none may break the line or drive the terminal.
  // eslint-disable-next-line no-control-regex -- control characters are the point
  return message.replace(/\s*\n\s*/g, ' ').replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}
