/**
 * Compares the config of `bundle` with the one that dockerd gives to runc, key by key, for the same `docker
 * create` on both, and for the same options of `layerstack create`. Every deliberate difference is in
 * DIFFERENCES, with its reason, and in docs/docker-differences.md.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestService } from '../support/test-service.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { LayerstackCli } from '../support/layerstack-cli.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun, run } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';
import { Schemas } from './support/schemas.ts';
import { SpyRuntime } from './support/spy-runtime.ts';

const image = imageOf(
  [
    layerOf({
      'etc/passwd': 'root:x:0:0::/root:/bin/sh\nmason:x:1000:100::/home/mason:/bin/sh\n',
      'etc/group': 'root:x:0:\nusers:x:100:\ntools:x:10:mason\nvideo:x:44:\n',
      'data/file': 'of the image',
    }),
  ],
  { tags: ['base:1'], config: { Cmd: ['/bin/x'], Env: ['A=1'] } },
);

/** Each is a `docker create`; @name stands for a path of the test's own. */
const CASES: readonly string[] = [
  '',
  '-e B=2 -e PATH=/x -w /work',
  '-u mason',
  '-u mason --cap-add NET_ADMIN',
  '-u 5:6 --group-add tools --group-add 77',
  '-u 0:44',
  '-t',
  '-m 64m',
  '-m 64m --memory-swap 128m --memory-reservation 32m --memory-swappiness 10',
  '-m 64m --memory-swap -1 --oom-kill-disable --oom-score-adj 100',
  '-m 64m --kernel-memory 40m',
  '--cpus 1.5 --cpu-shares 100 --cpuset-cpus 0 --cpuset-mems 0',
  '--cpu-period 50000 --cpu-quota 20000',
  '--cpu-rt-period 1000000',
  '--pids-limit 100',
  '--pids-limit -1',
  '--device-read-bps @block:1mb --device-write-bps @block:2mb --device-read-iops @block:10 --device-write-iops @block:20',
  '--ulimit nofile=100:200 --ulimit core=-1 --ulimit nproc=5',
  '--sysctl net.core.somaxconn=1024 --sysctl kernel.shmmax=1000000',
  '--sysctl net.ipv4.ip_unprivileged_port_start=80',
  '--tmpfs /run:rw,size=10m,exec --tmpfs /x',
  '--tmpfs /x:ro,noatime,mode=700,uid=5 --tmpfs /dev/shm',
  '-v @dir:/data:ro -v @dir:/data/sub',
  '-v @dir:/data:private -v @dir:/other:z',
  '-v @dir:/dev/shm -v @dir:/etc/hosts',
  '-v /dev:/dev',
  '-v @shared:/data:rshared',
  '-v @shared:/data:rslave',
  '-v @shared:/data:shared -v @shared:/more:slave,ro',
  '-v @missing/deep:/data',
  '-v /data -v /empty',
  '--mount type=volume,dst=/data',
  '--mount type=bind,src=@dir,dst=/a,readonly --mount type=bind,src=@dir,dst=/c,bind-nonrecursive',
  '--mount type=bind,src=@shared,dst=/a,bind-propagation=rshared',
  '--mount type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=700 --mount type=tmpfs,dst=/c,readonly,tmpfs-size=1025',
  '--read-only',
  '--read-only --tmpfs /run -v @dir:/data',
  '--cap-add ALL --cap-drop CHOWN',
  '--cap-drop ALL',
  '--cap-drop ALL --cap-add chown --cap-add CAP_NET_ADMIN',
  '--cap-add SYS_ADMIN --cap-drop MKNOD --cap-drop kill',
  ...['SYS_BOOT', 'SYS_MODULE', 'SYS_NICE', 'SYS_PACCT', 'SYS_PTRACE', 'SYS_RAWIO', 'SYS_TIME', 'SYSLOG'].map(
    (name) => `--cap-drop ALL --cap-add ${name}`,
  ),
  ...['DAC_READ_SEARCH', 'SYS_CHROOT', 'SYS_TTY_CONFIG'].map((name) => `--cap-drop ALL --cap-add ${name}`),
  '--privileged',
  '--privileged --read-only --cap-drop ALL',
  '--privileged --device /dev/null:/dev/mine --security-opt seccomp=@profile',
  '--privileged -u mason',
  '--device /dev/null:/dev/mine:rw --device @link:/dev/linked --device /dev/zero',
  '--device /dev/net --device-cgroup-rule "c 10:* rm" --device-cgroup-rule "b *:* r"',
  '--security-opt no-new-privileges',
  '--security-opt no-new-privileges=false --security-opt apparmor=unconfined --security-opt label=disable',
  '--security-opt seccomp=unconfined',
  '--security-opt seccomp=@profile',
  '--security-opt seccomp=@profile --cap-add SYS_ADMIN',
  '--security-opt systempaths=unconfined',
  '--userns host',
  '--ipc host',
  '--ipc none',
  '--ipc private --shm-size 10m',
  '--pid host',
  '--uts host',
  '--cgroupns private',
  '--cgroupns host',
  '--network host',
  '--network host --hostname own --sysctl kernel.shmmax=5',
  '--hostname own --domainname example.org',
  '--add-host a:1.2.3.4 --add-host b:::1 --dns 9.9.9.9 --dns-search x.y --dns-option ndots:2',
  '--dns-search .',
  '--cgroup-parent /mine',
  '--log-driver none',
  '--entrypoint /e',
];

interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: object;
}

interface Capabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly permitted?: readonly string[];
}

interface Document {
  readonly hooks?: unknown;
  readonly ociVersion: string;
  readonly root: { readonly path: string; readonly readonly?: boolean };
  readonly hostname?: string;
  readonly mounts: readonly Mount[];
  readonly process: { readonly capabilities?: Capabilities; readonly env: readonly string[] } & Record<
    string,
    unknown
  >;
  readonly linux: {
    readonly rootfsPropagation?: string;
    readonly cgroupsPath?: string;
    readonly maskedPaths?: readonly string[];
    readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
    readonly resources: Record<string, unknown>;
    readonly devices?: readonly { readonly path: string }[];
    readonly seccomp?: {
      readonly defaultAction: string;
      readonly defaultErrnoRet?: number | undefined;
      readonly architectures?: readonly string[];
      readonly syscalls: readonly Rule[];
    };
  } & Record<string, unknown>;
}

/** System calls of docker's default profile since 20.10, and those that it no longer allows. */
const SECCOMP = {
  added: (
    'cachestat clock_settime64 fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount listxattrat ' +
    'lsm_get_self_attr lsm_list_modules lsm_set_self_attr map_shadow_stack mseal name_to_handle_at pkey_alloc pkey_free ' +
    'pkey_mprotect process_vm_readv process_vm_writev removexattrat riscv_hwprobe set_mempolicy_home_node setxattrat ' +
    'statmount uretprobe'
  ).split(' '),
  removed: ['io_uring_enter', 'io_uring_register', 'io_uring_setup'],
  /** With an argument, so that AF_VSOCK is refused. */
  conditional: ['socket'],
} as const;

/** Deliberate differences by their reason: each removes a difference from both sides. */
const DIFFERENCES: readonly (readonly [reason: string, forget: (document: Document) => Document])[] = [
  ['hooks of dockerd make its networks', (d) => ({ ...d, hooks: undefined })],
  ['the version is of the specification that the document keeps to', (d) => ({ ...d, ociVersion: '' })],
  [
    'each store has its own root file system',
    (d) => ({ ...d, root: { readonly: d.root.readonly ?? false, path: '' } }),
  ],
  [
    'without CgroupParent the runtime says which cgroup the container is in',
    (d) => {
      const { cgroupsPath = '', ...linux } = d.linux;
      return {
        ...d,
        linux: cgroupsPath.startsWith('/docker/') ? linux : { ...linux, cgroupsPath },
      } as Document;
    },
  ],
  [
    'what says nothing is left out: limits of 0, flags that are false, empty lists',
    (d) => withoutNothing(d) as Document,
  ],
  [
    'the host network is the one that the runtime is in, and not named by a path',
    (d) => ({
      ...d,
      linux: { ...d.linux, namespaces: d.linux.namespaces.filter(({ path }) => path === undefined) },
    }),
  ],
  [
    'paths are hidden that docker hides since 28',
    (d) => ({
      ...d,
      linux: {
        ...d.linux,
        ...(d.linux.maskedPaths && {
          maskedPaths: d.linux.maskedPaths.filter(
            (path) => !['/proc/interrupts', '/sys/devices/virtual/powercap'].includes(path),
          ),
        }),
      },
    }),
  ],
  [
    'ALL capabilities are those that this process has, as in docker since 23',
    (d) => ({
      ...d,
      process: { ...d.process, capabilities: withoutForeign(d.process.capabilities) },
    }),
  ],
  [
    'files of names are beside config.json, volumes without a name beside the container',
    (d) => ({ ...d, mounts: d.mounts.map(withoutPlace) }),
  ],
  [
    'mounts of one depth have no order',
    (d) => ({ ...d, mounts: [...d.mounts].sort((a, b) => (a.destination < b.destination ? -1 : 1)) }),
  ],
  [
    'HOME is set where the runtime would set it: not every one does. The client sends variables in any order',
    (d) => ({
      ...d,
      process: { ...d.process, env: d.process.env.filter((each) => !each.startsWith('HOME=')).sort() },
    }),
  ],
  [
    'the root is a slave where dockerd says rslave, which the specification does not have',
    (d) => {
      const { rootfsPropagation } = d.linux;
      return rootfsPropagation === 'rslave' ? { ...d, linux: { ...d.linux, rootfsPropagation: 'slave' } } : d;
    },
  ],
  [
    'loop devices come and go',
    (d) => ({
      ...d,
      linux: {
        ...d.linux,
        ...(d.linux.devices && {
          devices: d.linux.devices.filter(({ path }) => !path.startsWith('/dev/loop')),
        }),
      },
    }),
  ],
];

/** Of the default seccomp profile alone: it is that of docker 28. */
function defaultSeccomp(d: Document): Document {
  const { seccomp } = d.linux;
  if (!seccomp) return d;
  const skipped = new Set<string>([...SECCOMP.added, ...SECCOMP.removed, ...SECCOMP.conditional]);
  // One rule for each name, independent of the groups.
  const rules = seccomp.syscalls.flatMap(({ names, ...rule }) =>
    names.filter((name) => !skipped.has(name)).map((name) => JSON.stringify([name, sorted(rule)])),
  );
  return {
    ...d,
    linux: {
      ...d.linux,
      seccomp: {
        ...seccomp,
        defaultErrnoRet: undefined,
        syscalls: [...new Set(rules)].sort() as unknown as Rule[],
      },
    },
  };
}

function sorted(value: unknown): unknown {
  // dockerd lists groups in any order.
  if (Array.isArray(value) && value.every((each) => typeof each === 'number'))
    return value.toSorted((one, other) => one - other);
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort()
      .map(([key, each]) => [key, sorted(each)]),
  );
}

function withoutForeign(sets: Capabilities = {}): Capabilities {
  const own = BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
  // Capabilities that docker 20.10 lists even if this process lacks them, and those that it does not know.
  const missing = new Set([
    ...(own & (1n << 24n) ? [] : ['CAP_SYS_RESOURCE']),
    ...['CAP_PERFMON', 'CAP_BPF', 'CAP_CHECKPOINT_RESTORE'],
  ]);
  return Object.fromEntries(
    Object.entries(sets).map(([kind, names]) => [
      kind,
      [...(names as readonly string[])].filter((name) => !missing.has(name)).sort(),
    ]),
  );
}

/** dockerd gives no propagation for a volume; runc then uses rprivate too. */
function withoutPlace(mount: Mount): Mount {
  const { source, options, type } = mount;
  const isOwn = type === 'bind' && /\/(?:containers|volumes|bundle)\//.test(source);
  if (!isOwn) return mount;
  return { ...mount, source: '', options: options.filter((option) => option !== 'rprivate') };
}

const KEPT = new Set([
  'args',
  'env',
  'options',
  'minor',
  'major',
  'uid',
  'gid',
  'value',
  'index',
  'hard',
  'soft',
]);

function withoutNothing(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((each) => withoutNothing(each));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value)
    .map(([key, each]) => [key, KEPT.has(key) ? each : withoutNothing(each)] as const)
    .filter(([key, each]) => KEPT.has(key) || !isNothing(each, key));
  return Object.fromEntries(entries);
}

function isNothing(value: unknown, key: string): boolean {
  // `allow: false` is a rule.
  if (key === 'allow') return false;
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === 0 || value === false || value === '' || value === null;
}

describe.runIf(havePeers('dockerd', 'docker', 'runc'))('a bundle beside what dockerd hands to runc', () => {
  const schemas = new Schemas('runtime-spec');
  let scratch: string;
  let dockerd: Dockerd;
  let service: TestService;
  let spy: SpyRuntime;
  let paths: Record<string, string>;

  beforeAll(async () => {
    scratch = makeScratch('bundle-as-docker');
    spy = new SpyRuntime(scratch);
    dockerd = await Dockerd.start(join(scratch, 'docker'), {
      runtimes: { spy: { path: spy.path } },
      'default-runtime': 'spy',
    });
    service = await TestService.start();
    const block =
      (await mustRun('lsblk', ['-dnpo', 'NAME,TYPE'])).stdout.match(/^(\S+) +disk$/m)?.[1] ?? '/dev/loop0';
    paths = {
      block,
      dir: join(scratch, 'dir'),
      shared: join(scratch, 'shared'),
      missing: join(scratch, 'missing'),
      link: join(scratch, 'link'),
      profile: join(scratch, 'profile.json'),
    };
    mkdirSync(paths['dir'] ?? '');
    mkdirSync(paths['shared'] ?? '');
    await mustRun('mount', ['-t', 'tmpfs', 'shared', paths['shared'] ?? '']);
    await mustRun('mount', ['--make-shared', paths['shared'] ?? '']);
    symlinkSync('/dev/null', paths['link'] ?? '');
    writeFileSync(
      paths['profile'] ?? '',
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ERRNO',
        archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }],
        syscalls: [
          { names: ['read', 'write'], action: 'SCMP_ACT_ALLOW' },
          { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN'] } },
          { names: ['setns'], action: 'SCMP_ACT_ALLOW', excludes: { caps: ['CAP_SYS_ADMIN'] } },
          { name: 'open', action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ' }] },
          { names: ['ptrace'], action: 'SCMP_ACT_TRACE', includes: { minKernel: '4.8' } },
          { names: ['bpf'], action: 'SCMP_ACT_ALLOW', excludes: { arches: ['amd64'] } },
          { names: ['clone'], action: 'SCMP_ACT_ERRNO', errnoRet: 38, includes: { arches: ['amd64'] } },
        ],
      }),
    );
    for (const host of [dockerd.host, service.host])
      await mustRun('docker', ['-H', host, 'load'], {
        input: tar(dockerArchive([image])),
        env: { DOCKER_API_VERSION: '1.41' },
      });
  });

  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await dockerd.stop();
    await mustRun('umount', [paths['shared'] ?? '']);
    await dropScratch(scratch);
  });

  async function create(host: string, flags: readonly string[]): Promise<string> {
    const network = flags.includes('--network') ? [] : ['--network', 'none'];
    const { stdout } = await mustRun('docker', ['-H', host, 'create', ...network, ...flags, 'base:1'], {
      env: { DOCKER_API_VERSION: '1.41', DOCKER_CONFIG: join(scratch, 'client') },
    });
    return stdout.trim();
  }

  function createByCommand(flags: readonly string[]): Promise<string> {
    return new LayerstackCli(service.store.root).run('create', ...flags, 'base:1');
  }

  async function theirs(flags: readonly string[]): Promise<{ document: Document; files: string[] }> {
    const id = await create(dockerd.host, flags);
    const { stderr } = await run('docker', ['-H', dockerd.host, 'start', id]);
    const document = spy.config(id);
    if (document === undefined) throw new Error(`dockerd did not come to the runtime: ${stderr}`);
    const files = textsOf(document as unknown as Document);
    await mustRun('docker', ['-H', dockerd.host, 'rm', '-v', id]);
    return { document: normal(id, document), files };
  }

  /** By docker's client and the service, or by the command. */
  async function ours(
    flags: readonly string[],
    by: 'docker' | 'layerstack' = 'docker',
  ): Promise<{ document: Document; files: string[] }> {
    const id = by === 'docker' ? await create(service.host, flags) : await createByCommand(flags);
    const { path, unsupported } = await service.store.containers.bundle(id, join(scratch, 'bundle', id));
    expect(unsupported).toEqual([]);
    const text = readFileSync(join(path, 'config.json'), 'utf8');
    expect(schemas.errors('config-schema.json', text)).toBe('');
    const document = JSON.parse(text.replace(/(?<=[:[,\s])\d{16,}(?=[\s,\]}])/g, '"$&"')) as Record<
      string,
      unknown
    >;
    const files = textsOf(document as unknown as Document);
    await service.store.containers.unmount(id);
    await service.store.containers.remove(id);
    return { document: normal(id, document), files };
  }

  /** Returns the files of names, without the name that is the container's id. */
  function textsOf({ mounts }: Document): string[] {
    return ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'].map((destination) => {
      const source = mounts.find((mount) => mount.destination === destination)?.source ?? '';
      const isOwn = /\/(?:containers|bundle)\//.test(source);
      return isOwn ? readFileSync(source, 'utf8').replace(/^[0-9a-f]{12}$/m, 'ID') : source;
    });
  }

  function normal(id: string, document: Record<string, unknown>): Document {
    const text = JSON.stringify(document).replaceAll(id, 'ID').replaceAll(id.slice(0, 12), 'SHORT');
    return DIFFERENCES.reduce((left, [, forget]) => forget(left), JSON.parse(text) as Document);
  }

  test.each(CASES)('docker create %s', async (line) => {
    const flags = [...line.matchAll(/"([^"]*)"|(\S+)/g)]
      .map(([, quoted, plain]) => quoted ?? plain ?? '')
      .map((word) => word.replace(/@(\w+)/g, (_, name: string) => paths[name] ?? ''));
    const [their, our] = [await theirs(flags), await ours(flags)];
    const compared = line.includes('seccomp=@') ? (d: Document): Document => d : defaultSeccomp;
    expect(sorted(compared(our.document))).toEqual(sorted(compared(their.document)));
    expect(our.files).toEqual(their.files);
    const commanded = await ours(flags, 'layerstack');
    expect(sorted(commanded.document)).toEqual(sorted(our.document));
    expect(commanded.files).toEqual(our.files);
    for (const [index, { destination }] of our.document.mounts.entries())
      for (const other of our.document.mounts.slice(index + 1))
        expect(destination.startsWith(`${other.destination}/`)).toBe(false);
  });

  test('the default seccomp profile differs from that of 20.10 by what docker changed since, and by nothing else', async () => {
    const names = ({ linux }: Document): string[] =>
      (linux.seccomp?.syscalls ?? []).flatMap(({ action, args, names: each }) =>
        action === 'SCMP_ACT_ALLOW' && !args ? each : [],
      );
    const flags = [
      '--cap-drop',
      'ALL',
      '--cap-add',
      'SYS_ADMIN',
      '--cap-add',
      'SYS_NICE',
      '--cap-add',
      'SYS_TIME',
    ];
    const [their, our] = [
      new Set(names((await theirs(flags)).document)),
      new Set(names((await ours(flags)).document)),
    ];
    const added = [...our].filter((name) => !their.has(name)).sort();
    const gone = [...their].filter((name) => !our.has(name)).sort();
    // In 20.10 name_to_handle_at needs CAP_SYS_ADMIN, and the two of process_vm CAP_SYS_PTRACE.
    expect(added).toEqual([...SECCOMP.added].filter((name) => name !== 'name_to_handle_at'));
    expect(gone).toEqual([...SECCOMP.removed, ...SECCOMP.conditional]);
  });
});
