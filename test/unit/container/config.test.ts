import { describe, expect, it } from 'vitest';
import { commandOf, containerConfig, mergedConfig } from '../../../src/container/config.ts';
import { configDocument } from '../../../src/container/documents.ts';
import type { ImageID } from '../../../src/core/digest.ts';
import { decodeContainerConfig } from '../../../src/image/container-config.ts';

const ID = 'abc'.padEnd(64, '0');
const image = {
  config: decodeContainerConfig(
    {
      Entrypoint: ['/entry'],
      Cmd: ['a', 'b'],
      Env: ['PATH=/bin', 'LANG=C'],
      User: 'mason',
      WorkingDir: '/house',
      Labels: { one: '1', two: '2' },
      ExposedPorts: { '80/tcp': {} },
      StopSignal: 'SIGINT',
      Hostname: 'builder',
      Image: 'sha256:parent',
    },
    '',
  ),
};
const make = (overrides: Parameters<typeof containerConfig>[3]) =>
  containerConfig('', image, 'app:1', overrides);

describe('containerConfig', () => {
  it('takes everything from the image except the names of the container', () => {
    const config = make({});
    expect(config).toMatchObject({
      Entrypoint: ['/entry'],
      Cmd: ['a', 'b'],
      Env: ['PATH=/bin', 'LANG=C'],
      User: 'mason',
      WorkingDir: '/house',
      StopSignal: 'SIGINT',
      ExposedPorts: ['80/tcp'],
      Hostname: '',
      Image: 'app:1',
    });
    expect(commandOf(config)).toEqual(['/entry', 'a', 'b']);
  });

  it("replaces the command, and with the entrypoint drops the image's command", () => {
    expect(commandOf(make({ command: ['c'] }))).toEqual(['/entry', 'c']);
    expect(commandOf(make({ entrypoint: ['/other'] }))).toEqual(['/other']);
    expect(commandOf(make({ entrypoint: [], command: ['c'] }))).toEqual(['c']);
    expect(make({ entrypoint: [] }).Entrypoint).toBeNull();
  });

  it('treats an entrypoint of one empty word as unset, from the image and the caller', () => {
    const blank = { config: decodeContainerConfig({ Entrypoint: [''], Cmd: ['a'] }, '') };
    const given = (document: Record<string, unknown>) => decodeContainerConfig(document, '');
    expect(make({ entrypoint: [''], command: ['c'] })).toMatchObject({ Entrypoint: null, Cmd: ['c'] });
    expect(containerConfig('', blank, '', {})).toMatchObject({ Entrypoint: null, Cmd: ['a'] });
    expect(mergedConfig('', blank, given({}))).toMatchObject({ Entrypoint: null, Cmd: ['a'] });
    expect(mergedConfig('', image, given({ Entrypoint: [''] }))).toMatchObject({
      Entrypoint: null,
      Cmd: null,
    });
    expect(commandOf({ Entrypoint: [''], Cmd: ['a'] })).toEqual(['a']);
    expect(commandOf({ Entrypoint: ['', 'x'], Cmd: ['a'] })).toEqual(['', 'x', 'a']);
  });

  it('merges environment and labels by key', () => {
    const config = make({ env: ['LANG=de', 'NEW=1'], labels: { two: '22', three: '3' } });
    expect(config.Env).toEqual(['LANG=de', 'NEW=1', 'PATH=/bin']);
    expect(Object.fromEntries(config.Labels ?? [])).toEqual({ one: '1', two: '22', three: '3' });
  });
});

describe('configDocument', () => {
  const alike = (overrides: Parameters<typeof make>[0]) =>
    configDocument({ image: 'sha256:1' as ImageID, config: make(overrides), hostConfig: {} });
  const identity = { id: ID, name: 'build', created: '2024-01-02T03:04:05Z' };
  const document = (overrides: Parameters<typeof make>[0]) =>
    JSON.parse(alike(overrides)(identity)) as Record<string, unknown>;

  it('differs only in the identity between containers with the same settings', () => {
    const write = alike({});
    const other = { id: 'f'.repeat(64), name: 'other', created: '2025-01-02T03:04:05Z' };
    const first = JSON.parse(write(identity)) as Record<string, object>;
    const second: unknown = JSON.parse(write(other));
    expect(first).toMatchObject({ ID, Name: '/build', Created: identity.created });
    expect(first).toHaveProperty('Config.Hostname', 'abc000000000');
    expect(second).toEqual({
      ...first,
      ...{ ID: other.id, Name: '/other', Created: other.created },
      Config: { ...first['Config'], Hostname: 'f'.repeat(12) },
    });
  });

  it('keeps the host name that was given', () => {
    expect(document({ hostname: 'mason' })).toMatchObject({
      ...{ ID, Name: '/build', Created: identity.created },
      Config: { Hostname: 'mason' },
    });
  });

  it('has what dockerd needs', () => {
    expect(document({})).toMatchObject({
      ID,
      Name: '/build',
      Driver: 'overlay2',
      Image: 'sha256:1',
      Path: '/entry',
      Args: ['a', 'b'],
      Config: {
        Cmd: ['a', 'b'],
        Image: 'app:1',
        Labels: { one: '1', two: '2' },
        ExposedPorts: { '80/tcp': {} },
      },
    });
  });

  it('gives its endpoint members, without which dockerd 20.10 crashes at start', () => {
    expect(document({})).toHaveProperty('NetworkSettings.Networks.none.IPAMConfig', null);
  });

  it('has an empty path where there is no command', () => {
    expect(document({ entrypoint: [], command: [] })).toMatchObject({
      Path: '',
      Args: [],
      Config: { Cmd: null },
    });
  });
});
