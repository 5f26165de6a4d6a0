/** Distinguishes the path of an archive from the name of a container in an operand. */
import { existsSync } from 'node:fs';

/** The form of a container's name in docker's API. */
const SLASHED_NAME = /^\/[^/]+$/;

/**
 * Returns true for a text with a slash, because names have none; false for `/NAME` if no such file exists.
 */
export function isArchivePath(operand: string): boolean {
  return operand.includes('/') && !(SLASHED_NAME.test(operand) && !existsSync(operand));
}
