/**
 * How long the parts of long work take, told to whoever subscribes to the diagnostics channel
 * `layerstack:phase` as {@link PhaseRecord}s. Without a subscriber it costs two looks at the clock.
 */
import { channel } from 'node:diagnostics_channel';

/** A part of long work that has ended. */
export interface PhaseRecord {
  readonly operation: 'load' | 'pull' | 'push' | 'save' | 'commit' | 'import' | 'export';
  /** Of an operation, e.g. `stage`; `total` is all of it. */
  readonly phase: string;
  readonly durationMs: number;
  readonly failed: boolean;
}

const phases = channel('layerstack:phase');

/** Does `work` and tells how long it took, also where it fails. */
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

/** Passes bytes on and tells how long all of them took; who leaves before the end has failed. */
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
