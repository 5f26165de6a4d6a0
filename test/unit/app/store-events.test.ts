import { describe, expect, it, vi } from 'vitest';
import { StoreEvents, type StoreEvent } from '../../../src/app/store-events.ts';
import type { Container } from '../../../src/container/record.ts';
import { decodeContainerConfig } from '../../../src/image/container-config.ts';

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

const container = (imageName: string): Container => ({
  id: 'c1',
  name: 'web',
  imageId: undefined,
  imageName,
  created: '2024-01-02T03:04:05Z',
  command: [],
  config: decodeContainerConfig({ Labels: { team: 'x', name: 'label' } }, ''),
  state: 'created',
  exitCode: 0,
  finished: undefined,
  mountId: 'm1',
  initId: undefined,
  parent: undefined,
});

function heard(tell: (events: StoreEvents) => void): StoreEvent[] {
  const events = new StoreEvents(log);
  const got: StoreEvent[] = [];
  events.listen((event) => got.push(event));
  tell(events);
  return got;
}

describe('store events', () => {
  it("have the labels, overridden by docker's own attributes", () => {
    expect(
      heard((events) => {
        events.container('create', container('a:1'));
        events.container('rename', container(''), { oldName: '/x' });
        events.image('tag', 'sha256:1', 'a:1', { k: 'v' });
        events.image('load', 'sha256:1', 'sha256:1', new Map([['k', 'v']]));
        events.image('delete', 'sha256:1', 'sha256:1', null);
        events.prune('container', 12);
      }),
    ).toEqual([
      { type: 'container', action: 'create', id: 'c1', attributes: { team: 'x', image: 'a:1', name: 'web' } },
      {
        type: 'container',
        action: 'rename',
        id: 'c1',
        attributes: { team: 'x', oldName: '/x', name: 'web' },
      },
      { type: 'image', action: 'tag', id: 'sha256:1', attributes: { k: 'v', name: 'a:1' } },
      { type: 'image', action: 'load', id: 'sha256:1', attributes: { k: 'v', name: 'sha256:1' } },
      { type: 'image', action: 'delete', id: 'sha256:1', attributes: { name: 'sha256:1' } },
      { type: 'container', action: 'prune', id: '', attributes: { reclaimed: '12' } },
    ]);
  });

  it('reach every listener, also after one that fails, until it stops listening', () => {
    const events = new StoreEvents(log);
    const [first, second] = [vi.fn(), vi.fn()];
    expect(events.heard).toBe(false);
    const stop = events.listen(first);
    events.listen(() => {
      throw new Error('a bug of the listener');
    });
    events.listen(second);
    events.prune('image', 0);
    stop();
    events.prune('image', 0);
    expect(first).toHaveBeenCalledTimes(1);
    expect(second).toHaveBeenCalledTimes(2);
    expect(log.error).toHaveBeenCalledTimes(2);
  });
});
