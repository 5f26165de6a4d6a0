/**
 * Selects the containers that `prune` removes: those that neither run nor are mounted, and match the filters.
 * Mirrors `moby/moby: daemon/prune.go` (ContainersPrune) at v20.10.
 */
import { matchesLabels, type LabelFilters } from '../core/labels.ts';
import { compareTimes, parseTime } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import type { Container } from './record.ts';

export interface ContainerPruneFilters extends LabelFilters {
  /**
   * Matches containers made at this time or earlier: a duration before now (`24h`), a date, or seconds since
   * 1970.
   */
  readonly until?: string | undefined;
}

/** The report of `docker container prune`. */
export interface ContainerPruneResult {
  readonly ContainersDeleted: readonly string[];
  /** Bytes of their RW layers. */
  readonly SpaceReclaimed: number;
}

/**
 * Compiles the filters into a predicate for many containers.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed time.
 */
export function pruneFilter(filters: ContainerPruneFilters): (container: Container) => boolean {
  const until = filters.until === undefined ? undefined : parseTimestamp('until', filters.until);
  return ({ config, created }) => {
    const time = parseTime(created);
    const isOld = until === undefined || (time !== undefined && compareTimes(time, until) <= 0);
    return isOld && matchesLabels(config.Labels && Object.fromEntries(config.Labels), filters);
  };
}
