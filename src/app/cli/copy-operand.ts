/**
 * Parses the operands of `cp`. The text alone decides, never what exists:
 *
 *   ARCHIVE:/PATH    a text with `:/` that begins with a dot, or has a slash before its first colon
 *   CONTAINER:PATH   any other text with a colon, unless it begins with `/` or a dot
 *   PATH             everything else: a path of the host, or `-`
 *
 * The last two are docker's rule. Names of containers have no slash and no dot at the beginning, so an
 * archive is never taken for a container. A host path with `:/` in it cannot be written.
 */
import { UsageError } from './command.ts';

export interface CopyOperand {
  readonly owner: 'container' | 'archive' | 'host';
  /** The name of the container, or the path of the archive. */
  readonly name: string;
  readonly path: string;
}

/** @throws UsageError for an empty operand, and for one that begins with a colon. */
export function parseCopyOperand(text: string): CopyOperand {
  if (text === '') throw new UsageError('an operand is empty');
  const end = text.indexOf(':/');
  const colon = text.indexOf(':');
  if (end >= 0 && (text.startsWith('.') || text.slice(0, colon).includes('/')))
    return { owner: 'archive', name: text.slice(0, end), path: text.slice(end + 1) };
  if (colon < 0 || text.startsWith('/') || text.startsWith('.'))
    return { owner: 'host', name: '', path: text };
  if (colon === 0) throw new UsageError(`${JSON.stringify(text)} lacks a container name before the colon`);
  return { owner: 'container', name: text.slice(0, colon), path: text.slice(colon + 1) };
}
