/**
 * The phases of loads, pulls, pushes, saves and commits as histograms, from the reports of
 * `system/phases.ts`.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { PhaseRecord } from '../../system/phases.ts';
import type { Metrics } from './metrics.ts';

const CHANNEL = 'layerstack:phase';

/** Counts phases until the returned function is called. */
export function countPhases(metrics: Metrics): () => void {
  const seconds = metrics.histogram(
    'layerstack_operation_phase_duration_seconds',
    'Phases of loads, pulls, pushes, saves, commits and imports; "total" is the whole operation.',
    ['operation', 'phase'],
  );
  const failures = metrics.counter(
    'layerstack_operation_failures_total',
    'Operations that failed or were aborted.',
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
