/** `await using` of what `create` and `mount` give: what is left when the block ends, however it ends. */
import { existsSync, openSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StoreEvent } from '../../src/app/store-events.ts';
import { firstError } from '../../src/core/errors.ts';
import { rejection } from '../support/errors.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

let fixture: TestStore;
let told: string[];

beforeEach(async () => {
  fixture = await TestStore.build();
  told = [];
  fixture.store.onEvent(({ type, action }: StoreEvent) => void told.push(`${type} ${action}`));
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** What a SuppressedError has: Node 20 lacks the class, and compilers make an Error of that name. */
interface Suppressed extends Error {
  readonly error: unknown;
  readonly suppressed: unknown;
}

const caught = (work: Promise<void>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('await using', () => {
  it('unmounts and removes at the end of the block, in that order', async () => {
    let id: string;
    let path: string;
    {
      await using container = await fixture.store.containers.create(IMAGE, { name: 'build' });
      await using mount = await fixture.store.containers.mount(container);
      ({ id } = container);
      ({ path } = mount);
      writeFileSync(join(path, 'written'), 'here');
      expect(await fixture.store.containers.isMounted(id)).toBe(true);
    }
    expect(existsSync(path)).toBe(false);
    expect(await rejection(fixture.store.containers.get(id))).toMatchObject({
      code: 'ERR_CONTAINER_NOT_FOUND',
    });
    expect(await fixture.store.containers.list()).toEqual([]);
    expect(told).toEqual(['container create', 'container mount', 'container unmount', 'container destroy']);
    // Its name is free.
    await using again = await fixture.store.containers.create(IMAGE, { name: 'build' });
    expect(again.name).toBe('build');
  });

  it('removes a container that is still mounted and in use', async () => {
    let file: number;
    {
      await using container = await fixture.store.containers.create(IMAGE);
      const first = await fixture.store.containers.mount(container);
      await fixture.store.containers.mount(container.name);
      file = openSync(join(first.path, 'house/marble'), 'r');
    }
    closeSync(file);
    expect(await fixture.store.containers.list()).toEqual([]);
  });

  it('removes when the body throws, and throws the error of the body', async () => {
    const bodyError = new Error('of the body');
    const body = async (): Promise<void> => {
      await using container = await fixture.store.containers.create(IMAGE);
      await using mount = await fixture.store.containers.mount(container);
      void mount;
      throw bodyError;
    };
    expect(await caught(body())).toBe(bodyError);
    expect(await fixture.store.containers.list()).toEqual([]);
  });

  it('throws an error of disposing, and suppresses the error of the body', async () => {
    const bodyError = new Error('of the body');
    const body = async (fail: boolean): Promise<void> => {
      await using container = await fixture.store.containers.create(IMAGE);
      void container;
      await fixture.store.close();
      if (fail) throw bodyError;
    };
    const alone = await caught(body(false));
    expect(alone).toMatchObject({ code: 'ERR_STORE_CLOSED' });
    await fixture.reopen();
    const both = (await caught(body(true))) as Suppressed;
    expect(both.name).toBe('SuppressedError');
    expect(both.error).toMatchObject({ code: 'ERR_STORE_CLOSED' });
    expect(both.suppressed).toBe(bodyError);
    expect(firstError(both)).toBe(bodyError);
    await fixture.reopen();
    expect(await fixture.store.containers.list()).toHaveLength(2);
  });

  it('does nothing the second time, or if the container is removed', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    await container[Symbol.asyncDispose]();
    await container[Symbol.asyncDispose]();
    const removed = await fixture.store.containers.create(IMAGE);
    await fixture.store.containers.remove(removed);
    await removed[Symbol.asyncDispose]();
    expect(told.filter((each) => each === 'container destroy')).toHaveLength(2);
    expect(await fixture.store.containers.list()).toEqual([]);
  });

  it('of several at once removes each once', async () => {
    const container = await fixture.store.containers.create(IMAGE);
    await Promise.all([1, 2, 3].map(() => container[Symbol.asyncDispose]()));
    expect(told.filter((each) => each === 'container destroy')).toHaveLength(1);
  });

  it('does not own containers that were looked up', async () => {
    await using container = await fixture.store.containers.create(IMAGE);
    const found = await fixture.store.containers.get(container.id);
    expect({ ...container }).toEqual(found);
    expect(JSON.stringify(container)).toBe(JSON.stringify(found));
    expect(Symbol.asyncDispose in found).toBe(false);
    // The new container is a name for itself, as a found one.
    expect(await fixture.store.containers.isMounted(container)).toBe(false);
  });
});
