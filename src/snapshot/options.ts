/** The options of taking a snapshot. */
import { LayerstackError } from '../core/errors.ts';

/** `auto`: seals, or copies where that is refused. */
export type SnapshotMode = 'auto' | 'seal' | 'copy';

export interface SnapshotOptions {
  /** Unique among the snapshots of the store: letters, digits, `_`, `.` and `-`. Default: none. */
  readonly name?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /**
   * The time after which the next writer or `prune` removes the snapshot, unless something needs it: a
   * duration from now (`1h`), a date, or seconds since 1970. Default: never.
   */
  readonly expires?: string | undefined;
  /** How the snapshot is taken. Default `auto`. The snapshot's `method` says which way was taken. */
  readonly mode?: SnapshotMode | undefined;
  /**
   * True: freezes the container's processes during a copy, and fails where that is impossible. False: does
   * not freeze them. Default: freezes them where they have a cgroup (version 2) of their own.
   */
  readonly freeze?: boolean | undefined;
  /**
   * Resolves only when the snapshot and everything in it are on disk. Without it, a power cut may lose
   * the last writes, as in the container itself. Default false.
   */
  readonly durable?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks options that exclude each other.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT.
 */
export function checkSnapshotOptions({ mode, freeze }: SnapshotOptions): void {
  if (freeze === true && mode === 'seal')
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      'a seal cannot freeze processes: take a copy (mode `copy`), or leave out `freeze`',
      { key: 'options.freeze' },
    );
}
