/**
 * The sources of a COPY or ADD: their paths in the context, wildcards filled in, and their names in the
 * destination. Paths are bytes, since names need not be UTF-8.
 * Mirrors moby/moby: builder/dockerfile/copy.go at v20.10 (calcCopyInfo, copyWithWildcards).
 */
import { posix } from 'node:path';
import { LayerstackError } from '../../core/errors.ts';
import { call, native } from '../../system/native.ts';
import type { IgnoreRules } from './ignore-rules.ts';

export interface Source {
  /** Clean, relative; empty for the whole directory. */
  readonly path: Uint8Array;
  readonly name: Uint8Array;
}

export interface SourceOptions {
  /** Begins messages: `COPY` or `ADD`. */
  readonly instruction: string;
  readonly from: string;
  readonly ignore: IgnoreRules;
  /** Names have the directories of the path, those after `/./` if it has one. `**` matches directories. */
  readonly parents: boolean;
}

/**
 * Returns the sources that a written path means.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a path that leads out of the context.
 */
export async function findSources(written: string, options: SourceOptions): Promise<Source[]> {
  const path = relative(written);
  if (path === undefined)
    throw new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${options.instruction} failed: forbidden path outside the build context: ${written} ()`,
      { path: written },
    );
  const skipped = options.parents ? pivotDepth(written) : 0;
  const paths = hasWildcards(path)
    ? await call(
        native.matchPaths(
          options.from,
          options.parents ? path : path.replace(/\*{2,}/g, '*'),
          options.ignore,
        ),
      )
    : [Buffer.from(path)];
  return paths.map((each) => ({ path: each, name: nameOf(each, options.parents ? skipped : undefined) }));
}

/** Returns the clean path; undefined if it climbs out. */
function relative(written: string): string | undefined {
  const path = posix.normalize(written.replace(/^\/+/, '')).replace(/\/$/, '');
  if (path === '..' || path.startsWith('../')) return undefined;
  return path === '.' ? '' : path;
}

/** Returns how many directories of the path come before `/./`. */
function pivotDepth(written: string): number {
  const pivot = written.replace(/^(?:\.?\/)+/, '').indexOf('/./');
  if (pivot < 0) return 0;
  const before = relative(written.replace(/^(?:\.?\/)+/, '').slice(0, pivot));
  return before === undefined || before === '' ? 0 : before.split('/').length;
}

/** Returns the last component, or with `skipped` all components after that many. */
function nameOf(path: Uint8Array, skipped: number | undefined): Uint8Array {
  const parts = Buffer.from(path).toString('latin1').split('/');
  const kept = skipped === undefined ? parts.slice(-1) : parts.slice(skipped);
  const name = kept.length === 0 || kept[0] === '' ? '.' : kept.join('/');
  return Buffer.from(name, 'latin1');
}

function hasWildcards(path: string): boolean {
  return /[*?[]/.test(path.replace(/\\./gsu, ''));
}
