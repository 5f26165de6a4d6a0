/**
 * A process sees the settings of the host config when runc and crun run the bundle: limits, capabilities,
 * seccomp, mounts, devices, sysctls and names.
 */
import { existsSync, mkdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CreateOptions } from '../../src/index.ts';
import { busyboxLayer, archiveOfMembers, TestStore, IMAGE, LAYERS } from '../support/test-store.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';
import { mountsBelow, unmountBelow } from '../support/scratch.ts';

/** A host with both kinds of cgroups, on which crun runs nothing. */
const isHybrid = existsSync('/sys/fs/cgroup/unified');
const isUnified = statfsSync('/sys/fs/cgroup').type === 0x63677270;

let fixture: TestStore;

beforeEach(async () => {
  fixture = await TestStore.build(archiveOfMembers([...LAYERS, busyboxLayer()], { Env: ['PATH=/bin'] }));
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Returns the output of a script in a container with this host config. */
async function output(
  runtime: 'runc' | 'crun',
  script: string,
  options: CreateOptions = {},
): Promise<string> {
  const { id } = await fixture.store.containers.create(IMAGE, { command: ['sh', '-c', script], ...options });
  const { path, unsupported } = await fixture.store.containers.bundle(
    id,
    join(fixture.scratch, `bundle-${id}`),
  );
  expect(unsupported).toEqual([]);
  const name = `layerstack-asked-${process.pid}-${id.slice(0, 12)}`;
  const args = ['--root', join(fixture.scratch, runtime), 'run', '--bundle', path, name];
  const ran = runtime === 'crun' && isHybrid ? await inOneKindOfCgroups(args) : await run(runtime, args);
  await fixture.store.containers.unmount(id);
  if (ran.status !== 0) throw new Error(`${runtime}: ${ran.stderr}`);
  return ran.stdout;
}

/** With the cgroups of version 1 alone, in a mount namespace of its own. */
async function inOneKindOfCgroups(args: readonly string[]): ReturnType<typeof run> {
  const script = 'umount -l /sys/fs/cgroup/unified && exec crun "$@"';
  return run('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', script, 'crun', ...args]);
}

const status = (text: string, field: string): string | undefined =>
  new RegExp(`^${field}:\\s*(\\S+)$`, 'm').exec(text)?.[1];

describe.each(['runc', 'crun'] as const)('%s', (runtime) => {
  describe.runIf(havePeers(runtime))('runs a bundle', () => {
    it('as docker by default: with its capabilities, a seccomp filter, and the names of the container', async () => {
      const text = await output(
        runtime,
        'cat /proc/self/status; cat /etc/hosts; echo "name: $(cat /etc/hostname) $(hostname)"; grep -c . /etc/resolv.conf',
        { hostname: 'site' },
      );
      expect(status(text, 'CapEff')).toBe('00000000a80425fb');
      expect(status(text, 'Seccomp')).toBe('2');
      expect(status(text, 'NoNewPrivs')).toBe('0');
      expect(text).toContain('127.0.0.1\tlocalhost\n');
      expect(text).toContain('name: site site\n');
    });

    it('with a seccomp filter that refuses the calls that it does not allow', async () => {
      const script = 'unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; true';
      expect(await output(runtime, script)).toMatch(/not permitted[\s\S]*(?:not permitted|denied)/);
    });

    it('with the limits of the process', async () => {
      const text = await output(runtime, 'ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj', {
        hostConfig: {
          Ulimits: [
            { Name: 'nofile', Soft: 100, Hard: 200 },
            { Name: 'core', Soft: 0, Hard: 0 },
          ],
          OomScoreAdj: 200,
        },
      });
      expect(text).toBe('100\n200\n0\n200\n');
    });

    it('with capabilities added and dropped, no new privileges, and no filter', async () => {
      const text = await output(runtime, 'cat /proc/self/status', {
        hostConfig: {
          CapDrop: ['ALL'],
          CapAdd: ['CHOWN', 'NET_ADMIN'],
          SecurityOpt: ['no-new-privileges', 'seccomp=unconfined'],
        },
      });
      expect(status(text, 'CapEff')).toBe('0000000000001001');
      expect(status(text, 'CapBnd')).toBe('0000000000001001');
      expect(status(text, 'NoNewPrivs')).toBe('1');
      expect(status(text, 'Seccomp')).toBe('0');
    });

    it('with sysctls, a domain name, hosts and name servers', async () => {
      const text = await output(
        runtime,
        'cat /proc/sys/net/core/somaxconn /proc/sys/kernel/domainname; tail -n1 /etc/hosts; cat /etc/resolv.conf',
        {
          domainname: 'example.org',
          hostConfig: {
            Sysctls: { 'net.core.somaxconn': '77' },
            ExtraHosts: ['mason:1.2.3.4'],
            Dns: ['9.9.9.9'],
            DnsSearch: ['x.y'],
          },
        },
      );
      expect(text).toBe('77\nexample.org\n1.2.3.4\tmason\nsearch x.y\nnameserver 9.9.9.9\n');
    });

    it('with a read-only root, a tmpfs, and directories of the host', async () => {
      const directory = join(fixture.scratch, 'of-the-host');
      mkdirSync(directory);
      writeFileSync(join(directory, 'file'), 'of the host\n');
      const script =
        'cat /one/file; echo x > /one/new || echo "one: ro"; echo y > /two/new; echo z > /root-file || echo "root: ro"; ' +
        'echo t > /run/file && cat /run/file; grep " /run " /proc/mounts; df -k /dev/shm | tail -n1';
      const text = await output(runtime, script, {
        hostConfig: {
          Binds: [`${directory}:/one:ro`],
          Mounts: [{ Type: 'bind', Source: directory, Target: '/two' }],
          Tmpfs: { '/run': 'size=1m,mode=700' },
          ReadonlyRootfs: true,
          ShmSize: 2 * 1024 * 1024,
        },
      });
      expect(text).toMatch(/^of the host\none: ro\nroot: ro\nt\n/);
      expect(text).toMatch(/tmpfs \/run tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700/);
      expect(text).toMatch(/\s2048\s.*\/dev\/shm/);
      expect(readFileSync(join(directory, 'new'), 'utf8')).toBe('y\n');
    });

    it('with later mounts of the host, if a bind is a slave of the host', async () => {
      const directory = join(fixture.scratch, 'later');
      mkdirSync(join(directory, 'sub'), { recursive: true });
      await mustRun('mount', ['-t', 'tmpfs', 'later', directory]);
      await mustRun('mount', ['--make-shared', directory]);
      mkdirSync(join(directory, 'sub'));
      try {
        const script =
          'touch /data/ready; for i in $(seq 100); do [ -e /data/sub/file ] && echo seen && exit; sleep 0.1; done';
        const ran = output(runtime, script, { hostConfig: { Binds: [`${directory}:/data:rslave`] } });
        const deadline = Date.now() + 10_000;
        while (!existsSync(join(directory, 'ready')) && Date.now() < deadline) await sleep(50);
        await mustRun('mount', ['-t', 'tmpfs', 'sub', join(directory, 'sub')]);
        writeFileSync(join(directory, 'sub/file'), '');
        expect(await ran).toBe('seen\n');
        // The container's mounts do not appear on the host.
        expect(mountsBelow(directory)).toEqual([join(directory, 'sub'), directory]);
      } finally {
        await unmountBelow(directory);
      }
    });

    it('with devices of the host', async () => {
      const text = await output(runtime, 'ls -l /dev/mine | cut -c1; head -c2 /dev/mine | wc -c', {
        hostConfig: {
          Devices: [{ PathOnHost: '/dev/zero', PathInContainer: '/dev/mine', CgroupPermissions: 'r' }],
        },
      });
      expect(text).toBe('c\n2\n');
    });

    it('with namespaces of the host', async () => {
      const own = await output(runtime, 'ls -l /proc/self/ns | grep -oE "(net|uts|ipc):\\[[0-9]+\\]"', {
        hostConfig: { NetworkMode: 'host', UTSMode: 'host', IpcMode: 'host' },
      });
      const ours = (await run('sh', ['-c', 'ls -l /proc/self/ns | grep -oE "(net|uts|ipc):\\[[0-9]+\\]"']))
        .stdout;
      expect(own.split('\n').sort()).toEqual(ours.split('\n').sort());
    });

    it('privileged: with all capabilities of this process, and without hidden paths', async () => {
      const text = await output(runtime, 'cat /proc/self/status; ls /dev/full; grep " /sys " /proc/mounts', {
        hostConfig: { Privileged: true },
      });
      const own = /^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
      // Those that layerstack knows.
      expect(BigInt(`0x${status(text, 'CapEff')}`)).toBe(BigInt(`0x${own}`) & ((1n << 41n) - 1n));
      expect(status(text, 'Seccomp')).toBe('0');
      expect(text).toContain('/dev/full');
      expect(text).toMatch(/sysfs \/sys sysfs rw/);
    });

    it('with groups added to its user', async () => {
      expect(await output(runtime, 'id -G', { user: '7:8', hostConfig: { GroupAdd: ['77', 'users'] } })).toBe(
        '8 77 100\n',
      );
    });

    it('with limits of its cgroup', async () => {
      const script = isUnified
        ? 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max'
        : 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.shares';
      const text = await output(runtime, script, {
        hostConfig: { Memory: 64 * 1024 * 1024, PidsLimit: 50, CpuShares: 100 },
      });
      expect(text).toBe(isUnified ? '67108864\n50\n' : '67108864\n50\n100\n');
    });
  });
});
