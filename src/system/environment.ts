/** Settings of the process that the command needs before it loads the modules of the store. */

/** The directory of the store where no other is named. */
export const DEFAULT_ROOT = '/var/lib/layerstack';

/** Returns whether `LAYERSTACK_DEBUG=1` is set: the log then has each step, and the stacks of errors. */
export function isDebugging(): boolean {
  return process.env['LAYERSTACK_DEBUG'] === '1';
}
