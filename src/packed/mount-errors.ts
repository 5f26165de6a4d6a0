/** Errors for an archive whose mount does not suit the caller. */
import { LayerstackError } from '../core/errors.ts';
import type { Place } from './place.ts';

/** @param how `read-only`, or another word for how it is mounted */
export function mountedOtherwise(sourceName: string, place: Place, how: string): LayerstackError {
  const path = place.at('merged');
  return new LayerstackError(
    'ERR_CONTAINER_MOUNTED',
    `${sourceName} is mounted ${how} at ${path}: unmount it first to mount it in another way`,
    { path },
  );
}

export function mountedElsewhere(sourceName: string, place: Place): LayerstackError {
  const path = place.at('merged');
  return new LayerstackError(
    'ERR_CONTAINER_MOUNTED',
    `${sourceName} is mounted at ${path} in another mount namespace: unmount it there, or use force (--force)`,
    { path },
  );
}
