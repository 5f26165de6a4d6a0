import { describe, expect, it } from 'vitest';
import { EventFilter } from '../../../src/app/event-filter.ts';
import type { ApiEvent } from '../../../src/app/api-event.ts';

const event = (
  type: ApiEvent['Type'],
  action: string,
  id: string,
  attributes: Readonly<Record<string, string>>,
): ApiEvent => ({
  status: action,
  id,
  Type: type,
  Action: action,
  Actor: { ID: id, Attributes: attributes },
  scope: 'local',
  time: 1,
  timeNano: 1_000_000_000n,
});

const EVENTS = {
  create: event('container', 'create', 'abc123', { image: 'team/app:1', name: 'web', stage: 'test', '': '' }),
  destroy: event('container', 'destroy', 'abd456', { image: 'base', name: 'db' }),
  tag: event('image', 'tag', 'sha256:77', { name: 'team/app:1', stage: 'live' }),
  pull: event('image', 'pull', 'base:1', { name: 'base' }),
  prune: event('image', 'prune', '', { reclaimed: '1' }),
};

const fitting = (filters: Readonly<Record<string, readonly string[]>>): string[] => {
  const filter = new EventFilter(new Map(Object.entries(filters)));
  return Object.entries(EVENTS)
    .filter(([, each]) => filter.matches(each))
    .map(([name]) => name);
};

describe('an event filter', () => {
  it.each([
    [{}, ['create', 'destroy', 'tag', 'pull', 'prune']],
    [{ type: ['image'] }, ['tag', 'pull', 'prune']],
    [{ type: ['image', 'container'] }, ['create', 'destroy', 'tag', 'pull', 'prune']],
    [{ type: ['volume'] }, []],
    [{ event: ['create', 'pull'] }, ['create', 'pull']],
    [{ event: ['creat'] }, []],
    // As in dockerd: with one that may have arguments the beginning of any is enough.
    [{ event: ['exec_create', 'des'] }, ['destroy']],
    [{ container: ['web'] }, ['create']],
    [{ container: ['ab'] }, ['create', 'destroy']],
    [{ container: ['abc123', 'db'] }, ['create', 'destroy']],
    [{ container: ['zz'] }, []],
    [{ image: ['team/app:1'] }, ['create', 'tag']],
    [{ image: ['team/app'] }, ['create', 'tag']],
    [{ image: ['team/app:2'] }, []],
    [{ image: ['base'] }, ['destroy', 'pull']],
    [{ image: ['sha256:77'] }, ['tag']],
    [{ label: ['stage'] }, ['create', 'tag']],
    [{ label: ['stage=live'] }, ['tag']],
    [{ label: ['stage=live', 'name'] }, ['tag']],
    [{ label: ['stage=live', 'none'] }, []],
    [{ label: ['__proto__'] }, []],
    [{ scope: ['local'] }, ['create', 'destroy', 'tag', 'pull', 'prune']],
    [{ scope: ['swarm'] }, []],
    [{ volume: ['web'] }, ['create']],
    [{ type: ['container'], event: ['create'], label: ['stage=test'] }, ['create']],
    [{ unknown: ['x'] }, ['create', 'destroy', 'tag', 'pull', 'prune']],
  ])('%j', (filters, names) => {
    expect(fitting(filters)).toEqual(names);
  });
});
