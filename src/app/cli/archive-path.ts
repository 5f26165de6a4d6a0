/** Tells an archive's path from a container's name in the operand of a command. */
import { existsSync } from 'node:fs';

/** The form of a container's name in docker's API. */
const SLASHED_NAME = /^\/[^/]+$/;

/**
 * Returns true for a text with a slash, because names have none; false for `/NAME` if no such file exists.
 */
export function isArchivePath(operand: string): boolean {
  return operand.includes('/') && !(SLASHED_NAME.test(operand) && !existsSync(operand));
}
