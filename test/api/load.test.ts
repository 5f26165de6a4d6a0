/** Loads by clients that stall, vanish, or come all at once. */
import type { IncomingMessage } from 'node:http';
import { once, setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { noise } from '../support/applied.ts';
import { dumpStore, storeChanges } from '../support/store-dump.ts';
import { tar } from '../support/tar.ts';
import { TestService } from '../support/test-service.ts';

/** An archive whose one layer has this many bytes that do not compress. */
function archive(name: string, bytes = 1 << 20): Buffer {
  const layer = layerOf([{ name: 'noise', content: noise(bytes) }]);
  return tar(dockerArchive([imageOf([layer], { tags: [name] })]));
}

/** The archive up to the middle of its layer, and then nothing, until the signal fires. */
async function* stalling(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield bytes.subarray(0, bytes.length / 2);
  await once(signal, 'abort');
}

let service: TestService;
let over: AbortController;

beforeEach(() => {
  over = new AbortController();
  setMaxListeners(100, over.signal);
});
afterEach(async () => {
  over.abort();
  await service[Symbol.asyncDispose]();
});

/** Starts a load that stalls; resolves with its answer. */
function stall(bytes: Uint8Array): Promise<IncomingMessage> {
  const answer = service.open('POST', '/images/load', { body: stalling(bytes, over.signal) });
  answer.catch(() => undefined);
  return answer;
}

/** Waits until this many requests are being answered. */
async function active(count: number): Promise<void> {
  for (let waited = 0; service.api.active !== count; waited++) {
    if (waited > 1000) throw new Error(`${service.api.active} requests are active, not ${count}`);
    await sleep(10);
  }
}

describe('loads that stall', () => {
  it.each([
    ['plain', (bytes: Buffer) => bytes],
    ['gzip', (bytes: Buffer) => gzipSync(bytes)],
  ])('do not delay other requests, however many they are: %s', async (_, pack) => {
    service = await TestService.start();
    const bytes = pack(archive('stalled:1'));
    for (let i = 0; i < 16; i++) void stall(bytes);
    await active(16);
    await sleep(200);
    const answer = await service.post('/images/load', { body: archive('quick:1') });
    expect(answer.lines()).toEqual([{ stream: 'Loaded image: quick:1\n' }]);
    expect(service.api.active).toBe(16);
  });

  it('are abandoned after a while, with an answer and without leftovers', async () => {
    service = await TestService.start({ stallMs: 300 });
    const before = await dumpStore(service.store.root);
    const answer = await service.send('POST', '/images/load', {
      body: stalling(archive('stalled:1'), over.signal),
    });
    expect(answer.status).toBe(200);
    const [line] = answer.lines();
    expect(line?.['error']).toContain('no bytes of the request body arrived for 0.3 seconds');
    await service.api.drained();
    expect(await storeChanges(service.store.root, before)).toEqual([]);
  });
});

describe('a client that vanishes', () => {
  it('in the middle of its upload leaves nothing', async () => {
    service = await TestService.start();
    const before = await dumpStore(service.store.root);
    const bytes = archive('gone:1', 4 << 20);
    const socket = await service.connect();
    socket.write(`POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    socket.write(bytes.subarray(0, bytes.length / 2));
    await active(1);
    await sleep(100);
    socket.destroy();
    await active(0);
    expect(service.ended).toEqual([expect.objectContaining({ pattern: '/images/load', aborted: true })]);
    expect(await storeChanges(service.store.root, before)).toEqual([]);
    expect(await service.store.images.list({ all: true })).toEqual([]);
  });

  it('between its upload and the answer has its image loaded, or leaves nothing', async () => {
    service = await TestService.start();
    const before = await dumpStore(service.store.root);
    const bytes = archive('gone:1', 8 << 20);
    const socket = await service.connect();
    socket.on('error', () => undefined);
    socket.write(`POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    await new Promise((resolve) => socket.write(bytes, resolve));
    socket.destroy();
    await active(0);
    const images = await service.store.images.list({ all: true });
    if (images.length === 0) expect(await storeChanges(service.store.root, before)).toEqual([]);
    else expect(images[0]?.RepoTags).toEqual(['gone:1']);
  });
});

describe('many loads', () => {
  it('run at once: 24, with stalled ones among them', async () => {
    service = await TestService.start();
    for (let i = 0; i < 8; i++) void stall(archive(`stalled:${i}`));
    const answers = await Promise.all(
      Array.from({ length: 24 }, (_, i) =>
        service.post('/images/load', { body: archive(`many:${i}`, 2 << 20) }),
      ),
    );
    expect(answers.map(({ text }) => text)).toEqual(
      Array.from({ length: 24 }, (_, i) => `{"stream":"Loaded image: many:${i}\\n"}\r\n`),
    );
    expect(await service.store.images.list()).toHaveLength(24);
  });
});
