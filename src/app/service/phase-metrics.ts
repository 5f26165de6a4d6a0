/** The phases of loads, pulls, pushes, saves and commits as histograms, from what `system/phases.ts` tells. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { PhaseRecord } from '../../system/phases.ts';
import type { Metrics } from './metrics.ts';

const CHANNEL = 'layerstack:phase';

/** Counts phases from now on, until the returned function is called. */
export function countPhases(metrics: Metrics): () => void {
  const seconds = metrics.histogram(
    'layerstack_operation_phase_duration_seconds',
    'Parts of loads, pulls, pushes, saves, commits and imports; "total" is a whole one.',
    ['operation', 'phase'],
  );
  const failures = metrics.counter(
    'layerstack_operation_failures_total',
    'Operations that failed or were given up.',
    ['operation'],
  );
  const listener = (message: unknown): void => {
    const { operation, phase, durationMs, failed } = message as PhaseRecord;
    seconds.observe(durationMs / 1000, operation, phase);
    if (failed && phase === 'total') failures.add(1, operation);
  };
  subscribe(CHANNEL, listener);
  return () => void unsubscribe(CHANNEL, listener);
}
