/** Names of containers: finding the one that a request's path names, and what can be wrong with one, in docker's words. */
import type { Container } from '../../../container/record.ts';
import { LayerstackError } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';

/**
 * The container that `{name}` of the path means.
 * @throws {@link HttpError} 404 where there is none
 */
export async function containerOf(request: ApiRequest, store: Layerstack): Promise<Container> {
  return findContainer(request.param('name'), store);
}

export async function findContainer(name: string, store: Layerstack): Promise<Container> {
  try {
    return await store.containers.get(name);
  } catch (error) {
    if (LayerstackError.is(error, 'ERR_CONTAINER_NOT_FOUND'))
      throw new HttpError(404, `No such container: ${name}`, { cause: error });
    throw error;
  }
}

/** Whether a process of the container was there when it was last written, by a daemon. */
export function isRunning({ state }: Container): boolean {
  return state === 'running' || state === 'paused' || state === 'restarting';
}

/** Whether a container may be called so. */
export function isName(name: string): boolean {
  return /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name);
}

export function badName(name: string): string {
  return `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`;
}

/** What to say where a container could not be called `name`; `prefix` is put in front of it. */
export function nameError(error: unknown, name: string, prefix = ''): unknown {
  if (!LayerstackError.is(error, 'ERR_CONTAINER_NAME_IN_USE')) return error;
  return new HttpError(
    409,
    `${prefix}Conflict. The container name "/${name.replace(/^\//, '')}" is already in use by container "${error.id ?? ''}". ` +
      'You have to remove (or rename) that container to be able to reuse that name.',
    { cause: error },
  );
}
