/** The options that `load` and `pull` share. */
import type { OptionSpecs } from './command.ts';

export const LAYER_OPTIONS = {
  check: {
    type: 'boolean',
    help: 'read the layers that the store has, and replace damaged ones (default: compare them without contents)',
  },
  packed: {
    type: 'boolean',
    help: 'keep the layers as tars, which the kernel mounts; dockerd sees the image after `settle`',
  },
} as const satisfies OptionSpecs;
