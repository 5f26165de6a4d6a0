/**
 * Measures the parts of long work, and publishes {@link PhaseRecord}s on the diagnostics channel
 * `layerstack:phase`. Without a subscriber it costs two reads of the clock.
 */
import { channel } from 'node:diagnostics_channel';

/** A finished part of long work. */
export interface PhaseRecord {
  readonly operation: 'load' | 'pull' | 'push' | 'save' | 'commit' | 'import' | 'export' | 'build';
  /** The part of the operation, e.g. `stage`; `total` is the whole. */
  readonly phase: string;
  readonly durationMs: number;
  readonly failed: boolean;
}

const phases = channel('layerstack:phase');

/** Does `work` and publishes its duration, also where it fails. */
export async function timed<T>(
  operation: PhaseRecord['operation'],
  phase: string,
  work: () => Promise<T>,
): Promise<T> {
  const start = performance.now();
  let failed = true;
  try {
    const result = await work();
    failed = false;
    return result;
  } finally {
    tell({ operation, phase, durationMs: performance.now() - start, failed });
  }
}

/**
 * Passes bytes on, and publishes how long all of them took. A consumer that stops before the end counts as a
 * failure.
 */
export async function* timedBytes(
  operation: PhaseRecord['operation'],
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const start = performance.now();
  let failed = true;
  try {
    yield* bytes;
    failed = false;
  } finally {
    tell({ operation, phase: 'total', durationMs: performance.now() - start, failed });
  }
}

function tell(record: PhaseRecord): void {
  if (phases.hasSubscribers) phases.publish(record);
}
