import { describe, expect, it } from 'vitest';
import { runtimeSpec } from '../../../src/container/spec.ts';
import { MappingLog } from '../../../src/container/spec/mapping.ts';
import { parseSecurityOptions } from '../../../src/container/spec/security.ts';
import type { HostSettings } from '../../../src/container/spec/settings.ts';
import { decodeContainerConfig } from '../../../src/image/container-config.ts';
import { codeOf } from '../../support/errors.ts';

const user = { uid: 1000, gid: 100, additionalGids: [100, 27], home: '/home/mason' };
const all = ['CAP_CHOWN', 'CAP_SYS_ADMIN', 'CAP_BPF'];
const made = (config: Record<string, unknown>, host: HostSettings = {}, as = user) => {
  const log = new MappingLog();
  const spec = runtimeSpec(
    {
      id: 'f'.repeat(64),
      config: decodeContainerConfig({ Hostname: 'host', Cmd: ['/bin/true'], ...config }, ''),
      host,
      security: parseSecurityOptions(host.SecurityOpt ?? []),
      user: as,
      rootfs: '/store/merged',
      readOnly: false,
      mounts: [],
      propagation: undefined,
      devices: { devices: [], rules: [] },
      resources: {},
      machine: {
        capabilities: all,
        arch: 'x64',
        kernel: '6.1.0',
        hasUnifiedCgroups: false,
        hasAppArmor: false,
      },
    },
    log,
  );
  return { spec, log: log.entries };
};
const spec = (config: Record<string, unknown>, as = user) => made(config, {}, as).spec;

describe('runtimeSpec', () => {
  it('runs entrypoint and command as the user, in the working directory', () => {
    expect(spec({ Entrypoint: ['/e'], Cmd: ['x'], WorkingDir: '/house' })).toMatchObject({
      ociVersion: '1.0.2',
      process: {
        terminal: false,
        args: ['/e', 'x'],
        cwd: '/house',
        user: { uid: 1000, gid: 100, additionalGids: [100, 27] },
      },
      root: { path: '/store/merged', readonly: false },
      hostname: 'host',
    });
  });

  it.each([
    ['', '/'],
    ['rel/dir', '/rel/dir'],
  ])('makes the working directory %j absolute', (given, expected) => {
    expect(spec({ WorkingDir: given }).process.cwd).toBe(expected);
  });

  it('gives PATH, HOSTNAME and HOME unless the image sets them', () => {
    expect(spec({}).process.env).toEqual([
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'HOSTNAME=host',
      'HOME=/home/mason',
    ]);
    expect(
      spec({ Env: ['PATH=/x', 'HOME=/h', 'EMPTY=', 'E=a=b', 'no-equals', '=nameless'] }).process.env,
    ).toEqual(['PATH=/x', 'HOSTNAME=host', 'HOME=/h', 'EMPTY=', 'E=a=b']);
  });

  it("has docker's capabilities, none of them inheritable, and hides docker's paths", () => {
    const { process, linux } = spec({}, { ...user, uid: 0 }) as unknown as {
      process: { capabilities: Record<string, string[]> };
      linux: { maskedPaths: string[]; readonlyPaths: string[]; namespaces: { type: string }[] };
    };
    expect(Object.keys(process.capabilities).sort()).toEqual(['bounding', 'effective', 'permitted']);
    expect(process.capabilities['bounding']).toHaveLength(14);
    expect(process.capabilities['bounding']).not.toContain('CAP_SYS_ADMIN');
    expect(linux.maskedPaths).toContain('/proc/kcore');
    expect(linux.readonlyPaths).toContain('/proc/sys');
    expect(linux.namespaces.map(({ type }) => type).sort()).toEqual([
      'ipc',
      'mount',
      'network',
      'pid',
      'uts',
    ]);
  });

  it('refuses a container without a command', () => {
    expect(codeOf(() => spec({ Cmd: null }))).toBe('ERR_CONFIG_INVALID');
  });

  it('gives a user other than root only a bounding set', () => {
    expect(Object.keys(spec({}).process['capabilities'] as object)).toEqual(['bounding']);
  });

  it.each<[HostSettings, string[]]>([
    [{ CapAdd: ['ALL'] }, all],
    [{ CapAdd: ['all'], CapDrop: ['sys_admin'] }, ['CAP_CHOWN', 'CAP_BPF']],
    [{ CapDrop: ['ALL'] }, []],
    [{ CapDrop: ['ALL'], CapAdd: ['net_admin', 'CAP_KILL'] }, ['CAP_NET_ADMIN', 'CAP_KILL']],
    [{ CapAdd: ['ALL'], CapDrop: ['ALL'] }, all],
    [{ Privileged: true, CapDrop: ['ALL'] }, all],
  ])('%j are the capabilities of docker', (host, expected) => {
    const { process } = made({}, host).spec;
    expect((process['capabilities'] as { bounding: string[] }).bounding).toEqual(expected);
  });

  it('adds to the default capabilities, and drops some', () => {
    const { process } = made({}, { CapAdd: ['SYS_TIME'], CapDrop: ['MKNOD'] }).spec;
    const { bounding } = process['capabilities'] as { bounding: string[] };
    expect(bounding).toHaveLength(14);
    expect(bounding).toContain('CAP_SYS_TIME');
    expect(bounding).not.toContain('CAP_MKNOD');
  });

  it('shares the requested namespaces of the host', () => {
    const host: HostSettings = { NetworkMode: 'host', PidMode: 'host', UTSMode: 'host', IpcMode: 'host' };
    const { spec: shared, log } = made({}, host);
    expect((shared['linux'] as { namespaces: unknown }).namespaces).toEqual([{ type: 'mount' }]);
    expect(shared).not.toHaveProperty('hostname');
    expect(log.map(({ key }) => key)).toEqual(['NetworkMode', 'UTSMode', 'PidMode', 'IpcMode']);
  });

  it('has a terminal with its size on request', () => {
    const { process } = made({ Tty: true }, { ConsoleSize: [24, 80] }).spec;
    expect(process).toMatchObject({ terminal: true, consoleSize: { height: 24, width: 80 } });
    expect(process.env).toContain('TERM=xterm');
  });

  it("has the requested cgroup, also in systemd's form", () => {
    const path = (CgroupParent: string) =>
      (made({}, { CgroupParent }).spec['linux'] as { cgroupsPath?: string }).cgroupsPath;
    expect(path('')).toBeUndefined();
    expect(path('/mine/')).toBe(`/mine/${'f'.repeat(64)}`);
    expect(path('a-b.slice')).toBe(`a-b.slice:layerstack:${'f'.repeat(64)}`);
  });

  it('logs which key was mapped to which', () => {
    const { log } = made(
      {},
      { OomScoreAdj: 5, ReadonlyRootfs: true, Sysctls: { 'net.core.somaxconn': '9' } },
    );
    expect(log).toEqual([
      { key: 'ReadonlyRootfs', to: 'root.readonly = true' },
      { key: 'OomScoreAdj', to: 'process.oomScoreAdj = 5' },
      { key: 'Sysctls', to: 'linux.sysctl[net.core.somaxconn] = 9' },
    ]);
  });
});
