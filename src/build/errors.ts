/** Errors of a build. They name the file and the line, and show the line. */
import { LayerstackError } from '../core/errors.ts';
import { caretLines, SourceError } from '../dockerfile/source-error.ts';
import { WordError } from '../dockerfile/word-error.ts';

/** The Dockerfile of a build. */
export interface SourceFile {
  /** In messages. */
  readonly name: string;
  readonly text: string;
}

/** Does work for the instruction at a line. An error gets the line as its place, unless it has one. */
export async function placed<T>(line: number, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof WordError || LayerstackError.is(error))
      throw new SourceError(line, error.message, undefined, { cause: error });
    throw error;
  }
}

/**
 * Returns the error as callers get it: with file, line and caret. It has the code of its cause, or
 * ERR_DOCKERFILE_INVALID.
 */
export function explainIn(file: SourceFile, error: unknown): unknown {
  if (error instanceof WordError)
    return new LayerstackError('ERR_DOCKERFILE_INVALID', `${file.name}: ${error.message}`, { cause: error });
  if (!(error instanceof SourceError)) return error;
  const { cause, line, message } = error;
  const text = [`${file.name}:${line}: ${message}`, ...caretLines(file.text, error)].join('\n');
  if (!LayerstackError.is(cause))
    return new LayerstackError('ERR_DOCKERFILE_INVALID', text, { cause: error });
  return cause.code === 'ERR_ABORTED' ? cause : LayerstackError.within(cause, text);
}
