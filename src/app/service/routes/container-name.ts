/** Finding the container that a request's path names, with docker's words where there is none. */
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
    return await store.container(name);
  } catch (error) {
    if (LayerstackError.is(error) && error.code === 'ERR_CONTAINER_NOT_FOUND')
      throw new HttpError(404, `No such container: ${name}`, { cause: error });
    throw error;
  }
}
