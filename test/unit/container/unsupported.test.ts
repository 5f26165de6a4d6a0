import { describe, expect, it } from 'vitest';
import type { HostSettings } from '../../../src/container/spec/settings.ts';
import { refuseUnsupported, unsupportedSettings } from '../../../src/container/spec/unsupported.ts';
import { mergeTmpfsOptions } from '../../../src/container/spec/mounts.ts';
import { parseSecurityOptions } from '../../../src/container/spec/security.ts';
import { codeOf } from '../../support/errors.ts';

const machine = {
  volumeOf: (name: string) => (name === 'known' ? '/volumes/known/_data' : undefined),
  hasSelinux: false,
  hasAppArmor: false,
};
const keys = (host: HostSettings, more: Partial<typeof machine> = {}): string[] =>
  unsupportedSettings(host, { ...machine, ...more }).map(({ key }) => key);

describe('the keys that a bundle cannot carry', () => {
  it.each<[keyof HostSettings, HostSettings]>([
    ['NetworkMode', { NetworkMode: 'mine' }],
    ['NetworkMode', { NetworkMode: 'bridge' }],
    ['NetworkMode', { NetworkMode: 'container:x' }],
    ['PortBindings', { PortBindings: { '80/tcp': [] } }],
    ['PublishAllPorts', { PublishAllPorts: true }],
    ['Links', { Links: ['a:b'] }],
    ['ExtraHosts', { ExtraHosts: ['gateway:host-gateway'] }],
    ['IpcMode', { IpcMode: 'container:x' }],
    ['PidMode', { PidMode: 'container:x' }],
    ['UsernsMode', { UsernsMode: 'private' }],
    ['Cgroup', { Cgroup: 'container:x' }],
    ['Runtime', { Runtime: 'kata' }],
    ['Init', { Init: true }],
    ['DeviceRequests', { DeviceRequests: [{}] }],
    ['StorageOpt', { StorageOpt: { size: '1g' } }],
    ['CpuCount', { CpuCount: 2 }],
    ['RestartPolicy', { RestartPolicy: { Name: 'always' } }],
    ['AutoRemove', { AutoRemove: true }],
    ['LogConfig', { LogConfig: { Type: 'journald', Config: {} } }],
    ['LogConfig', { LogConfig: { Type: 'json-file', Config: { 'max-size': '1m' } } }],
    ['SecurityOpt', { SecurityOpt: ['label=type:x'] }],
    ['SecurityOpt', { SecurityOpt: ['apparmor=mine'] }],
    ['VolumesFrom', { VolumesFrom: ['x'] }],
    ['VolumeDriver', { VolumeDriver: 'nfs' }],
    ['Binds', { Binds: ['name:/x'] }],
    ['Mounts', { Mounts: [{ Type: 'volume', Source: 'name', Target: '/x' }] }],
    [
      'Mounts',
      { Mounts: [{ Type: 'volume', Target: '/x', VolumeOptions: { DriverConfig: { Name: 'nfs' } } }] },
    ],
    ['Mounts', { Mounts: [{ Type: 'volume', Source: 'known', VolumeOptions: { Subpath: 'a' } }] }],
  ])('%s of %j', (key, host) => {
    expect(keys(host)).toEqual([key]);
    expect(() => refuseUnsupported(host, machine, {})).toThrow(key);
    expect(codeOf(() => refuseUnsupported(host, machine, {}))).toBe('ERR_UNSUPPORTED');
    const told: string[] = [];
    const onUnsupported = ({ key: name }: { readonly key: string }): void => void told.push(name);
    refuseUnsupported(host, machine, { ignoreUnsupported: true, onUnsupported });
    expect(told).toEqual([key]);
  });

  it('are not those that docker’s clients send as defaults', () => {
    expect(
      keys({
        ...{ Binds: null, LogConfig: { Type: '', Config: {} }, NetworkMode: 'default', PortBindings: {} },
        ...{ RestartPolicy: { Name: 'no' }, AutoRemove: false, VolumeDriver: '', VolumesFrom: null },
        ...{ ConsoleSize: [0, 0], CapAdd: null, CgroupnsMode: '', Dns: [], ExtraHosts: null, GroupAdd: null },
        ...{ IpcMode: '', Cgroup: '', Links: null, OomScoreAdj: 0, PidMode: '', Privileged: false },
        ...{
          PublishAllPorts: false,
          SecurityOpt: null,
          UTSMode: '',
          UsernsMode: '',
          ShmSize: 0,
          Runtime: '',
        },
        ...{ CpuShares: 0, Memory: 0, NanoCpus: 0, CgroupParent: '', BlkioWeight: 0, Devices: [] },
        ...{
          DeviceRequests: null,
          KernelMemory: 0,
          MemorySwappiness: -1,
          OomKillDisable: false,
          PidsLimit: 0,
        },
        ...{ Ulimits: null, CpuCount: 0, CpuPercent: 0, Init: null, StorageOpt: {}, Mounts: [] },
      }),
    ).toEqual([]);
    expect(
      keys({ Runtime: 'runc', LogConfig: { Type: 'json-file', Config: {} }, NetworkMode: 'none' }),
    ).toEqual([]);
  });

  it('depend on the machine', () => {
    expect(keys({ SecurityOpt: ['apparmor=mine'] }, { hasAppArmor: true })).toEqual([]);
    expect(keys({ Binds: ['/a:/b:z'] })).toEqual([]);
    expect(keys({ Binds: ['/a:/b:z'] }, { hasSelinux: true })).toEqual(['Binds']);
    expect(keys({ Binds: ['known:/b'] })).toEqual([]);
  });
});

describe('options of a tmpfs', () => {
  it.each([
    ['', 'noexec,nosuid,nodev,rprivate'],
    ['rw,size=10m,exec', 'nosuid,nodev,rprivate,rw,size=10m,exec'],
    ['size=1m,size=2m', 'noexec,nosuid,nodev,rprivate,size=2m'],
    ['ro,rw', 'noexec,nosuid,nodev,rprivate,rw'],
  ])('%j are %s', (given, expected) => {
    expect(mergeTmpfsOptions(given.split(',').filter(Boolean)).join()).toBe(expected);
  });

  it.each(['nothing', 'lowerdir=/x', 'size'])('%s is not one', (option) => {
    expect(codeOf(() => mergeTmpfsOptions([option]))).toBe('ERR_INVALID_ARGUMENT');
  });
});

describe('security options', () => {
  it('are read in both of docker’s forms', () => {
    expect(
      parseSecurityOptions(['no-new-privileges:true', 'apparmor:mine', 'label=disable', 'label=type:t']),
    ).toEqual({
      ...{ noNewPrivileges: true, seccomp: 'default', apparmor: 'mine', labels: ['type:t'] },
      writableCgroups: false,
    });
    expect(
      parseSecurityOptions(['no-new-privileges=false', 'seccomp=unconfined', 'writable-cgroups=1']),
    ).toMatchObject({
      ...{ noNewPrivileges: false, seccomp: 'unconfined', writableCgroups: true },
    });
  });

  it.each(['odd', 'odd=1', 'no-new-privileges=maybe', 'seccomp=/a/file'])('%s is refused', (option) => {
    expect(codeOf(() => parseSecurityOptions([option]))).toBe('ERR_INVALID_ARGUMENT');
  });
});
