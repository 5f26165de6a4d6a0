import type { LayerLimits } from '../system/native.ts';

/** Limits for layers from this machine's own file system, which bounds paths and inodes. */
export const OWN_LAYER_LIMITS: LayerLimits = {
  // The largest integer that JavaScript counts exactly; dockerd's sizes stay below 2^63.
  maxBytes: Number.MAX_SAFE_INTEGER,
  maxEntries: Infinity,
  maxPathBytes: 4096,
  maxPaxBytes: 16 * 1024 * 1024,
};
