/**
 * Names of containers: finds the container that a request's path names, and reports invalid names, in
 * docker's words.
 */
import type { Container } from '../../../container/record.ts';
import { LayerstackError } from '../../../core/errors.ts';
import type { Layerstack } from '../../layerstack.ts';
import type { ApiRequest } from '../request.ts';
import { HttpError } from '../status.ts';

/**
 * Returns the container that `{name}` of the path names.
 * @throws {@link HttpError} 404 if it does not exist
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

/** Whether a process of the container ran when a daemon last wrote the record. */
export function isRunning({ state }: Container): boolean {
  return state === 'running' || state === 'paused' || state === 'restarting';
}

/** Whether this is a valid name for a container. */
export function isName(name: string): boolean {
  return /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name);
}

export function badName(name: string): string {
  return `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`;
}

/** Converts the error of giving a container the name `name`; `prefix` goes in front of the message. */
export function nameError(error: unknown, name: string, prefix = ''): unknown {
  if (!LayerstackError.is(error, 'ERR_CONTAINER_NAME_IN_USE')) return error;
  return new HttpError(
    409,
    `${prefix}Conflict. The container name "/${name.replace(/^\//, '')}" is already in use by container "${error.id ?? ''}". ` +
      'You have to remove (or rename) that container to be able to reuse that name.',
    { cause: error },
  );
}
