/** `POST /build`: options, the lines of the answer, refusals, and clients that leave or read slowly. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildContext, busybox, onBusybox } from '../support/build-context.ts';
import { must } from '../support/process.ts';
import { mountsBelow } from '../support/scratch.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const DOCKERODE = fileURLToPath(new URL('./dockerode/build.mjs', import.meta.url));

/** Options of the query with the status and message of their refusal. */
const REFUSED: readonly (readonly [query: string, status: number, message: RegExp])[] = [
  ['remote=https://example.com/x.git', 400, /^remote=.* is not supported: send the build context as a tar/],
  ['version=2', 501, /DOCKER_BUILDKIT=0/],
  ['networkmode=bridge', 400, /^networkmode=bridge is not supported: use none or host$/],
  ['securityopt=[]', 400, /^securityopt is not supported/],
  ['isolation=hyperv', 400, /^Unsupported isolation: "hyperv"$/],
  ['buildargs=[1]', 400, /^buildargs/],
  ['memory=x', 400, /^memory="x" is not a whole number$/],
  ['extrahosts=nonsense', 400, /nonsense/],
  ['t=UPPER', 400, /UPPER/],
  ['platform=linux/nothing', 400, /linux\/nothing/],
  ['target=none', 400, /none/],
  ['dockerfile=missing', 404, /^Cannot locate specified Dockerfile: missing$/],
];

let service: TestService;

beforeEach(async () => {
  service = await TestService.start();
});
afterEach(async () => {
  await service[Symbol.asyncDispose]();
});

const build = (query: string, body: Uint8Array): Promise<Answer> =>
  service.post(`/v1.41/build?${query}`, { headers: { 'Content-Type': 'application/x-tar' }, body });

/** The text that docker prints, with stable ids. */
const printed = (answer: Answer): string =>
  answer
    .lines()
    .map(({ stream }) => (typeof stream === 'string' ? stream : ''))
    .join('')
    .replace(/\b[0-9a-f]{12}\b/g, 'ID');

const json = (value: unknown): string => encodeURIComponent(JSON.stringify(value));

/** The arguments of all processes, as one text. */
const commandLines = (): string =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .join('\n');

/** Reads the answer until it contains the text. */
async function until(answer: IncomingMessage, text: string): Promise<void> {
  let got = '';
  for await (const piece of answer.iterator({ destroyOnReturn: false })) {
    got += String(piece);
    if (got.includes(text)) return;
  }
  throw new Error(`the answer has ended without ${text}: ${got}`);
}

describe('a build', () => {
  it('answers as docker: a line for each step, the id for programs, and the names', async () => {
    const file = onBusybox('FROM base', 'RUN echo made', 'CMD ["sh"]');
    const answer = await build('t=a:1&t=registry.example/b&rm=False&forcerm=1', buildContext(file));
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
    const id = (await service.store.images.inspect('a:1')).Id;
    expect((await service.store.images.inspect('registry.example/b:latest')).Id).toBe(id);
    expect(answer.lines()).toContainEqual({ stream: 'Step 5/7 : FROM base\n' });
    expect(answer.lines().at(-4)).toEqual({ aux: { ID: id } });
    expect(printed(answer)).toContain(
      [
        'Step 6/7 : RUN echo made',
        ' ---> Running in ID',
        'made',
        'Removing intermediate container ID',
        ' ---> ID',
        'Step 7/7 : CMD ["sh"]',
        ' ---> ID',
        'Successfully built ID',
        'Successfully tagged a:1',
        'Successfully tagged registry.example/b:latest',
        '',
      ].join('\n'),
    );
    expect(printed(await build('', buildContext(file)))).not.toContain('Running in');
  });

  it('takes the options of docker', async () => {
    const file = onBusybox(
      'FROM base AS wanted',
      'ARG V=default',
      'ARG W=default',
      'RUN echo "$V $W"; cat /etc/hosts /proc/mounts',
      'FROM wanted',
      'RUN exit 9',
    );
    const query = [
      ...['dockerfile=in/My.file', 'target=wanted', 't=options:1', 'networkmode=default', 'nocache=1'],
      ...['memory=0', 'cpushares=0', 'cgroupparent=', 'ulimits=null', 'cachefrom=[]', 'version=1'],
      ...['shmsize=1048576', 'extrahosts=here.example:10.1.2.3', 'extrahosts=there.example:10.1.2.4'],
      `buildargs=${json({ V: 'given', W: null })}`,
      `labels=${json({ one: '1', 'a b': "it's" })}`,
    ].join('&');
    const answer = await build(query, buildContext(file, 'in/My.file'));
    const output = printed(answer);
    expect(output).toContain('given default\n');
    expect(output).toMatch(/^10\.1\.2\.3\s+here\.example$/m);
    expect(output).toMatch(/^10\.1\.2\.4\s+there\.example$/m);
    expect(output).toMatch(/\/dev\/shm tmpfs .*size=1024k/);
    const { Config } = await service.store.images.inspect('options:1');
    expect(Config?.Labels).toEqual({ one: '1', 'a b': "it's" });
  });

  it('answers only the id, if it is quiet', async () => {
    const answer = await build('q=1&t=quiet:1', buildContext(onBusybox()));
    const { Id } = await service.store.images.inspect('quiet:1');
    expect(answer.lines()).toEqual([{ stream: `${Id}\n` }]);
  });

  it('takes a context with gzip, and names the programs for other ones', async () => {
    const context = buildContext(onBusybox());
    expect((await build('t=gzip:1', gzipSync(context))).lines().at(-1)).toEqual({
      stream: 'Successfully tagged gzip:1\n',
    });
    const xz = Buffer.concat([Buffer.from('fd377a585a00', 'hex'), Buffer.alloc(1024)]);
    const refused = await build('', xz);
    expect([refused.status, refused.text]).toEqual([400, expect.stringContaining('xz')]);
  });

  it('of another image may run at the same time', async () => {
    const answers = await Promise.all(
      ['one', 'two'].map((name) =>
        build(
          `t=${name}:1`,
          buildContext(onBusybox('FROM base', `RUN echo "I am ${name}"; echo ${name} > /name`)),
        ),
      ),
    );
    expect(answers.map((answer) => /^I am .*$/m.exec(printed(answer))?.[0])).toEqual([
      'I am one',
      'I am two',
    ]);
    expect((await service.store.images.list()).flatMap(({ RepoTags }) => RepoTags).sort()).toEqual([
      'one:1',
      'two:1',
    ]);
  });

  it('is made by unchanged dockerode', async () => {
    const directory = join(service.scratch, 'context');
    mkdirSync(directory);
    writeFileSync(join(directory, 'busybox'), busybox(), { mode: 0o755 });
    writeFileSync(
      join(directory, 'Dockerfile'),
      onBusybox('FROM base', 'ARG V', 'RUN echo "built $V"', 'ENV A=b'),
    );
    const output = await must(process.execPath, [DOCKERODE, service.socket, directory, 'busybox']);
    const result = JSON.parse(output) as { id: string; messages: object[]; labels: object };
    expect(result.labels).toEqual({ by: 'dockerode' });
    expect(result.messages).toContainEqual({ stream: 'built from dockerode\n' });
    expect(result.messages).toContainEqual({ aux: { ID: result.id } });
  });
});

describe('a build is refused', () => {
  const context = buildContext(onBusybox());

  it('with a status before the first line, and leaves nothing', async () => {
    const before = await dumpStore(service.store.root);
    for (const [query, status, message] of REFUSED) {
      const answer = await build(query, context);
      expect([query, answer.status, answer.json()]).toEqual([
        query,
        status,
        { message: expect.stringMatching(message) as string },
      ]);
    }
    expect(await storeChanges(service.store.root, before)).toEqual([]);
  });

  it('with an error in the stream, and the status of the command, after the first line', async () => {
    const answer = await build('', buildContext(onBusybox('FROM base', 'RUN echo why; exit 7')));
    expect(answer.status).toBe(200);
    const { errorDetail, error } = answer.lines().at(-1) ?? {};
    expect(errorDetail).toEqual({ code: 7, message: error });
    expect(error).toMatch(/returned a non-zero code: 7/);
    expect(await service.store.containers.list()).toEqual([]);
  });
});

describe('a client that leaves', () => {
  it('during RUN ends the command, and leaves nothing', async () => {
    const base = ['FROM base', 'ENV A=b'];
    // The first mount marks the layers of the base.
    await build('', buildContext(onBusybox(...base, 'RUN echo first')));
    const before = await dumpStore(service.store.root);
    // A number that no other program has.
    const seconds = `${100_000 + process.pid}`;
    const run = `RUN trap "exit 3" TERM; echo ready; sleep ${seconds} & wait`;
    const answer = await service.open('POST', '/build', { body: buildContext(onBusybox(...base, run)) });
    await until(answer, '{"stream":"ready');
    expect(commandLines()).toContain(`sleep ${seconds}`);
    answer.destroy();
    await service.api.drained();
    expect(service.ended.at(-1)).toMatchObject({ pattern: '/build', aborted: true });
    expect(commandLines()).not.toContain(`sleep ${seconds}`);
    expect(mountsBelow(service.scratch)).toEqual([]);
    expect(await storeChanges(service.store.root, before)).toEqual([]);
  });

  it('in the middle of its upload leaves nothing', async () => {
    const before = await dumpStore(service.store.root);
    const context = buildContext(onBusybox());
    const socket: Socket = await service.connect();
    socket.write(`POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: ${context.length}\r\n\r\n`);
    await new Promise((resolve) => socket.write(context.subarray(0, context.length / 2), resolve));
    await expect.poll(() => service.api.active).toBe(1);
    socket.destroy();
    await expect.poll(() => service.api.active).toBe(0);
    expect(await storeChanges(service.store.root, before)).toEqual([]);
  });
});

describe('a slow reader', () => {
  const BYTES = 8 << 20;
  const file = onBusybox('COPY text /text', 'FROM base', 'RUN cat /text');
  const context = (): Buffer =>
    buildContext(file, 'Dockerfile', [{ name: 'text', content: Buffer.alloc(BYTES, `${'x'.repeat(63)}\n`) }]);

  it('slows the command down, so that little output waits in memory', async () => {
    let [waiting, most, total] = [0, 0, 0];
    await service.store.images.build(Readable.from(context(), { objectMode: false }), {
      onProgress: (event) => {
        if (event.type !== 'stream') return;
        waiting += event.text.length;
        most = Math.max(most, waiting);
        total += event.text.length;
      },
      drained: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        waiting = 0;
      },
    });
    expect(total).toBeGreaterThanOrEqual(BYTES);
    expect(most).toBeLessThan(BYTES / 8);
  });

  it('gets all output', async () => {
    const answer = await service.open('POST', '/build', { body: context() });
    let text = '';
    // Each piece is read when the loop turns again, so the connection is full most of the time.
    for await (const piece of answer) {
      text += String(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(text.match(/x{63}/g)).toHaveLength(BYTES / 64);
    expect(text).toContain('Successfully built');
  });
});

describe('the cache of builds', () => {
  it('can be pruned', async () => {
    await build('', buildContext(onBusybox()));
    const answer = await service.post('/build/prune');
    expect([answer.status, answer.json()]).toEqual([200, { CachesDeleted: null, SpaceReclaimed: 0 }]);
  });

  it('of an empty context is not made', async () => {
    const answer = await build('', tar([]));
    expect([answer.status, answer.json()]).toEqual([
      404,
      { message: 'Cannot locate specified Dockerfile: Dockerfile' },
    ]);
  });
});
