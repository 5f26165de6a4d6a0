/**
 * Selects the images of a listing or a prune by docker's filters, with docker's meaning.
 * Mirrors `moby/moby: daemon/images/{images,image_prune}.go` at v20.10.
 */
import { LayerstackError } from '../core/errors.ts';
import { compileGlob } from '../core/glob.ts';
import { matchesLabels, type LabelFilters } from '../core/labels.ts';
import type { Pace } from '../core/pace.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import { compareTimes, parseTime, type Time } from '../core/time.ts';
import { parseTimestamp } from '../core/timestamp.ts';
import type { CatalogEntry } from './catalog.ts';

export type OneOrMore = string | readonly string[];

/** Returns all values of a filter. */
export function valuesOf(given: OneOrMore | undefined): readonly string[] {
  return typeof given === 'string' ? [given] : (given ?? []);
}

/** All given filters must match; of `reference` one pattern must match. */
export interface ImageFilters extends LabelFilters {
  /** True: only images without a tag and without children. False: only the others. */
  readonly dangling?: boolean | undefined;
  /** Names or ids of images: made before, or after, all of them. */
  readonly before?: OneOrMore | undefined;
  readonly since?: OneOrMore | undefined;
  /**
   * Images that were made before this time, of several times the earliest: a duration before now (`24h`), a
   * date, or seconds since 1970. A prune accepts one time only, and includes images that were made at it.
   */
  readonly until?: OneOrMore | undefined;
  /** Patterns (`*`, `?`, `[a-z]`) for a name with or without its tag; only matching names are shown. */
  readonly reference?: readonly string[] | undefined;
}

/** The times of the images that `before` and `since` refer to. */
export interface FilterTimes {
  readonly before?: Time | undefined;
  readonly since?: Time | undefined;
}

/** Filters that are parsed once and applied to many images. */
export class ImageFilter {
  readonly #filters: ImageFilters;
  readonly #times: FilterTimes;
  readonly #until: Time | undefined;
  readonly #patterns: readonly ((text: string) => boolean)[] | undefined;

  /**
   * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a malformed pattern or time, or more than one
   *   time.
   */
  constructor(filters: ImageFilters, times: FilterTimes = {}) {
    this.#filters = filters;
    this.#times = times;
    const [until, another] = valuesOf(filters.until);
    if (another !== undefined)
      throw new LayerstackError('ERR_INVALID_ARGUMENT', 'more than one until filter specified');
    this.#until = until === undefined ? undefined : parseTimestamp('until', until);
    this.#patterns = filters.reference?.map(compileGlob);
  }

  /** Returns whether time and labels match. */
  matches(entry: CatalogEntry): boolean {
    return this.#matchesTime(entry) && matchesLabels(entry.labels, this.#filters);
  }

  #matchesTime({ time }: CatalogEntry): boolean {
    const { before, since } = this.#times;
    const until = this.#until;
    if (before === undefined && since === undefined && until === undefined) return true;
    const created = parseTime(time);
    if (created === undefined) return false;
    return (
      (before === undefined || compareTimes(created, before) < 0) &&
      (since === undefined || compareTimes(created, since) > 0) &&
      (until === undefined || compareTimes(created, until) <= 0)
    );
  }

  /** Returns the references of an image to show, or undefined where the image is not shown. */
  async shown(
    references: readonly Reference[],
    hasChildren: boolean,
    pace: Pace,
  ): Promise<readonly Reference[] | undefined> {
    const fitting = await this.#fitting(references, pace);
    if (this.#patterns !== undefined && fitting.length === 0) return undefined;
    const { dangling } = this.#filters;
    const isTagged = fitting.some(({ tag }) => tag !== undefined);
    if (dangling === true && (hasChildren || isTagged)) return undefined;
    if (dangling === false && fitting.length === 0) return undefined;
    return fitting;
  }

  async #fitting(references: readonly Reference[], pace: Pace): Promise<readonly Reference[]> {
    const patterns = this.#patterns;
    if (patterns === undefined) return references;
    const fitting: Reference[] = [];
    for (const reference of references) {
      const texts = [formatReference(reference), reference.repository];
      for (const fits of patterns) {
        if (pace.due) await pace.rest();
        if (!texts.some(fits)) continue;
        fitting.push(reference);
        break;
      }
    }
    return fitting;
  }
}
