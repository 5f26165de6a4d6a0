/** Whether a command that takes a container is given an archive. */
import { existsSync } from 'node:fs';

/** As docker's API writes a container's name. */
const SLASHED_NAME = /^\/[^/]+$/;

/** What has a slash in it is a path, since a name has none; but for `/NAME` where there is no such file. */
export function isArchivePath(operand: string): boolean {
  return operand.includes('/') && !(SLASHED_NAME.test(operand) && !existsSync(operand));
}
