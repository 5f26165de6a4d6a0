/** Whether a command that takes a container is given an archive. */
import { existsSync } from 'node:fs';

/** As docker's API writes a container's name. */
const SLASHED_NAME = /^\/[^/]+$/;

/** A text with a slash is a path, since a name has none, unless it is `/NAME` and no such file exists. */
export function isArchivePath(operand: string): boolean {
  return operand.includes('/') && !(SLASHED_NAME.test(operand) && !existsSync(operand));
}
