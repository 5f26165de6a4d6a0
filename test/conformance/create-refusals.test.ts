/**
 * Refusals of `POST /containers/create`: dockerd's status and words compared with layerstack's. Requests that
 * dockerd accepts are accepted too. Checks that depend on the machine (cgroups, log drivers, runtimes) are
 * left out.
 */
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestService } from '../support/test-service.ts';
import { dockerArchive } from '../support/archives.ts';
import { Dockerd } from '../support/dockerd.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { dropScratch, makeScratch } from '../support/scratch.ts';
import { tar } from '../support/tar.ts';

const image = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Cmd: ['/x'] } });

const host = (HostConfig: object): object => ({ HostConfig });
const ports = (port: string, HostPort = '80'): object => host({ PortBindings: { [port]: [{ HostPort }] } });
const restart = (Name: string, MaximumRetryCount = 0): object =>
  host({ RestartPolicy: { Name, MaximumRetryCount } });
const mount = (spec: object): object => host({ Mounts: [{ Target: '/t', Type: 'volume', ...spec }] });
const binds = (...Binds: string[]): object => host({ Binds });

const REFUSED: readonly object[] = [
  { StopSignal: 'SIGNOTHING' },
  { StopSignal: '0' },
  { StopSignal: 'RTMIN+16' },
  { StopSignal: 'SIGRTMAX-15' },
  { StopSignal: 'SIGSIGTERM' },
  { Healthcheck: { Interval: 1 } },
  { Healthcheck: { Timeout: 999_999 } },
  { Healthcheck: { StartPeriod: -5 } },
  { Healthcheck: { Retries: -1 } },
  { WorkingDir: 'rel' },
  { WorkingDir: './x' },
  { Env: [''] },
  { Env: ['A=1', '=2'] },
  restart('sometimes'),
  restart('always', 3),
  restart('no', 1),
  restart('unless-stopped', -1),
  restart('on-failure', -1),
  host({ AutoRemove: true, RestartPolicy: { Name: 'always' } }),
  ports('x/tcp'),
  ports('70000/tcp'),
  ports('80-90/tcp'),
  ports('-1'),
  ports('80/tcp', 'x'),
  ports('80/tcp', '70000'),
  ports('80/tcp', '90-80'),
  ports('80/tcp', '80-'),
  ports('80/tcp', '-80'),
  ports('80/tcp', ' 80'),
  host({ CapAdd: ['NOTHING'] }),
  host({ CapDrop: ['CAP_NOTHING', 'CHOWN'] }),
  host({ CapAdd: ['cap_chownx'] }),
  host({ ExtraHosts: ['alone'] }),
  host({ ExtraHosts: [':1.2.3.4'] }),
  host({ ExtraHosts: ['h:1.2.3'] }),
  host({ OomScoreAdj: 1001 }),
  host({ ShmSize: -1 }),
  host({ Memory: 1024 }),
  host({ MemorySwap: 1024 }),
  host({ NanoCpus: 1_000_000_000, CpuPeriod: 1000 }),
  host({ Tmpfs: { rel: '' } }),
  host({ Tmpfs: { '/': '' } }),
  host({ CgroupnsMode: 'mine' }),
  mount({ Target: '' }),
  mount({ Target: 'rel' }),
  mount({ Target: '/a/..' }),
  mount({ Type: 'nothing' }),
  mount({ Type: '' }),
  mount({ BindOptions: {} }),
  mount({ ReadOnly: true }),
  mount({ Type: 'tmpfs', Source: '/x' }),
  mount({ Type: 'tmpfs', BindOptions: {} }),
  mount({ Type: 'bind' }),
  mount({ Type: 'bind', Source: 'rel' }),
  mount({ Type: 'bind', Source: '/etc', BindOptions: { Propagation: 'odd' } }),
  mount({ Type: 'bind', Source: '/etc', VolumeOptions: {} }),
  mount({ Type: 'bind', Source: '/not/there' }),
  mount({ Source: 'a b' }),
  mount({ Source: 'x' }),
  binds('a:/b'),
  binds('a/b:/c'),
  binds('.a:/c'),
  binds('é1:/c'),
  host({ NanoCpus: -1 }),
  host({ CpusetCpus: 'x' }),
  host({ CpusetMems: '0-x' }),
  host({ VolumesFrom: [''] }),
  host({ VolumesFrom: ['x:odd'] }),
  host({ VolumesFrom: ['x:rshared'] }),
  host({ VolumesFrom: ['x:nocopy'] }),
];

/** Where dockerd 20.10 answers 500 with these words. */
const REFUSED_LATE: readonly object[] = [
  host({ NetworkMode: 'container:' }),
  host({ Isolation: 'hyperv' }),
  host({ IOMaximumIOps: 1 }),
  binds(''),
  binds(':/x'),
  binds('/a:/b:ro:z'),
  binds('/a:/b:odd'),
  binds('/a:/b:ro,rw'),
  binds('/a:/b:z,Z'),
  binds('/x:ro'),
  binds('/a:rel'),
  binds('/a:/'),
  binds('/a:'),
  binds('rel:/x:rshared'),
  binds('/a:/b:nocopy'),
  binds('/etc:/b', '/tmp:/b/'),
  host({ Binds: ['/etc:/b'], Tmpfs: { '/b': '' } }),
  { WorkingDir: '/etc/base' },
];

const TAKEN: readonly object[] = [
  { StopSignal: 'term' },
  { StopSignal: 'SIGRTMIN+15' },
  { StopSignal: 'rtmax-14' },
  { StopSignal: '9' },
  { StopSignal: '-3' },
  { Healthcheck: { Interval: 1_000_000, Timeout: 0, Retries: 0, Test: ['NONE'] } },
  { WorkingDir: '/new/dir' },
  { Env: ['A', 'B='] },
  restart('on-failure', 5),
  restart('', 7),
  host({ AutoRemove: true, RestartPolicy: { Name: 'no' } }),
  ports('80', ''),
  ports('80/', '8000-8010'),
  ports('80/sctp', '0'),
  ports('80/tcp', '1-2-3'),
  ports('', '80'),
  host({ PortBindings: { '80/tcp': null } }),
  host({ CapAdd: ['all', 'cap_chown', 'AUDIT_READ'], CapDrop: ['Kill'] }),
  host({ ExtraHosts: ['h:1.2.3.4', 'g:host-gateway', 'six:::1'] }),
  host({ Tmpfs: { '/t/': 'size=1m' } }),
  host({ CgroupnsMode: 'host', OomScoreAdj: -1000 }),
  mount({ Source: 'named', Target: '/t/../u' }),
  mount({ Type: 'bind', Source: '/etc', BindOptions: { Propagation: 'rslave' }, ReadOnly: true }),
  mount({ Type: 'tmpfs', TmpfsOptions: { SizeBytes: 1024, Mode: 511 } }),
  binds('/only', 'named:/n', '/etc:/e:ro,z,rslave', 'other:/o:nocopy'),
];

interface Verdict {
  readonly status: number | undefined;
  readonly message: string | undefined;
}

describe.runIf(havePeers('dockerd', 'docker'))('creating a container', () => {
  let scratch: string;
  let dockerd: Dockerd;
  let service: TestService;

  beforeAll(async () => {
    scratch = makeScratch('create-refusals');
    dockerd = await Dockerd.start(`${scratch}/docker`);
    service = await TestService.start();
    for (const side of [dockerd.host, service.host])
      await mustRun('docker', ['-H', side, 'load'], {
        input: tar(dockerArchive([image])),
        env: { DOCKER_API_VERSION: '1.41' },
      });
  });

  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await dockerd.stop();
    await dropScratch(scratch);
  });

  async function create(socket: string, body: object): Promise<Verdict> {
    const answer = await new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
      const sent = request(
        {
          socketPath: socket.replace('unix://', ''),
          method: 'POST',
          path: '/v1.41/containers/create',
          headers: { 'content-type': 'application/json' },
        },
        (response) => {
          text(response).then((all) => resolve({ status: response.statusCode, body: all }), reject);
        },
      );
      sent.on('error', reject);
      sent.end(JSON.stringify({ Image: 'base:1', ...body }));
    });
    const { message } = JSON.parse(answer.body) as { message?: string };
    return { status: answer.status, message };
  }

  const both = async (body: object): Promise<{ ours: Verdict; theirs: Verdict }> => ({
    ours: await create(service.host, body),
    theirs: await create(dockerd.host, body),
  });

  test.each(REFUSED.map((body) => [JSON.stringify(body), body] as const))(
    '%s is refused',
    async (_, body) => {
      const { ours, theirs } = await both(body);
      expect(theirs.status).toBe(400);
      expect(ours).toEqual(theirs);
    },
  );

  test.each(REFUSED_LATE.map((body) => [JSON.stringify(body), body] as const))(
    '%s is refused with 400, where dockerd 20.10 says the same with another status',
    async (_, body) => {
      const { ours, theirs } = await both(body);
      expect(theirs.status).toBeGreaterThanOrEqual(400);
      expect(ours).toEqual({ ...theirs, status: 400 });
    },
  );

  test.each(TAKEN.map((body) => [JSON.stringify(body), body] as const))('%s is taken', async (_, body) => {
    const { ours, theirs } = await both(body);
    expect(theirs).toEqual({ status: 201, message: undefined });
    expect(ours).toEqual(theirs);
  });

  test('leaves no trace of a refused container', async () => {
    expect((await service.store.containers.list()).length).toBe(TAKEN.length);
  });
});
