/**
 * npm run bench:service [-- ARCHIVE]: measures how quickly the service answers `_ping` during loads, and its
 * memory: idle, with a thousand idle connections, with one load, with 24 concurrent loads, and while a client
 * does not read the archive that it requested. With each ping another one goes to a bare Node server in a
 * process of its own, which shows the delays of the machine itself.
 *
 *   --loads N     number of concurrent loads in the last row (default 24)
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { connect } from 'node:net';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, URL } from 'node:url';
import { parseArgs } from 'node:util';
import { prepareInput } from './support/input.js';
import { sh, timed } from './support/measure.js';
import { dropDirectory, onSignal } from './support/undo.js';
import { onFreshVolume } from './support/volume.js';

const CLI = fileURLToPath(new URL('../dist/bundle/main.js', import.meta.url));
const UPLOAD = fileURLToPath(new URL('./support/upload.js', import.meta.url));
const PING_EVERY_MS = 10;
const IDLE_MS = 3000;
const CONNECTIONS = 1000;

if (process.argv[2] === '--bare') {
  createServer((_, response) => response.end('OK')).listen(process.argv[3], () => process.send('ready'));
  process.once('disconnect', () => process.exit());
} else await main();

async function main() {
  const { values: options, positionals } = parseArgs({
    allowPositionals: true,
    options: { loads: { type: 'string', default: '24' } },
  });
  const scratch = mkdtempSync(join(tmpdir(), 'layerstack-bench-service-'));
  const bareSocket = join(scratch, 'bare');
  const bare = fork(fileURLToPath(import.meta.url), ['--bare', bareSocket]);
  const drop = () => {
    bare.kill();
    dropDirectory(scratch);
  };
  onSignal(drop);
  try {
    await once(bare, 'message');
    const given = positionals[0] ?? process.env.LAYERSTACK_BENCH_IMAGE;
    const archive = given ?? (await prepareInput(scratch)).archive;
    const size = (statSync(archive).size / 1e6).toFixed(0);
    console.log(
      `- ${cpus().length} × ${cpus()[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}; ` +
        `image of ${size} MB; load average before: ${readFileSync('/proc/loadavg', 'utf8').split(' ')[0]}\n`,
    );
    console.log('| while | took | `_ping` p50 | p99 | most | a bare Node server p99 | memory now | most |');
    console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
    // Each concurrent load has its own copy of the layers until the first one has published them.
    const room = Math.ceil((statSync(archive).size * (Number(options.loads) + 4)) / 2 ** 30) + 1;
    await onFreshVolume((volume) => measure(volume, bareSocket, archive, Number(options.loads)), room);
  } finally {
    drop();
  }
}

async function measure(volume, bareSocket, archive, loads) {
  const socket = join(volume, 'sock');
  const service = fork(CLI, ['--root', join(volume, 'store'), 'serve', '--host', `unix://${socket}`], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const forgetService = onSignal(() => service.kill('SIGKILL'));
  try {
    for (let tries = 0; tries < 200 && (await ping(socket).catch(() => undefined)) === undefined; tries++)
      await sleep(50);
    const row = async (name, work) => console.log(await watch(name, service.pid, socket, bareSocket, work));
    const upload = (count) => sh(process.execPath, [UPLOAD, socket, archive, String(count)]);
    await row('nothing else', () => sleep(IDLE_MS));
    const idle = await Promise.all(Array.from({ length: CONNECTIONS }, () => connected(socket)));
    await row(`${CONNECTIONS} idle connections`, () => sleep(IDLE_MS));
    for (const connection of idle) connection.destroy();
    await row('one load', () => upload(1));
    await row('a client that does not read its archive', () => unread(socket));
    await row(`${loads} loads at once (layers are there)`, () => upload(loads));
    await forget(socket);
    await row(`${loads} loads at once (empty store)`, () => upload(loads));
  } finally {
    service.kill();
    await once(service, 'exit');
    forgetService();
  }
}

function connected(socket) {
  return new Promise((resolve, reject) => {
    const connection = connect(socket, () => resolve(connection)).once('error', reject);
  });
}

/** Requests an archive of all images and does not read it. */
async function unread(socketPath) {
  const [image] = JSON.parse(await ask(socketPath, 'GET', '/images/json'));
  const connection = await connected(socketPath);
  connection.write(`GET /images/get?names=${image.Id} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await sleep(IDLE_MS);
  connection.destroy();
}

async function forget(socket) {
  for (const { Id } of JSON.parse(await ask(socket, 'GET', '/images/json')))
    await ask(socket, 'DELETE', `/images/${Id}?force=1`);
}

function ask(socketPath, method, path, agent) {
  return new Promise((resolve, reject) => {
    request({ socketPath, method, path, agent }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => (text += chunk)).once('end', () => resolve(text));
    })
      .once('error', reject)
      .end();
  });
}

function ping(socket, agent) {
  return timed(() => ask(socket, 'GET', '/_ping', agent));
}

/** Measures one row: pings while `work` runs, and memory. */
async function watch(name, pid, socket, bareSocket, work) {
  const agents = [new Agent({ keepAlive: true }), new Agent({ keepAlive: true })];
  const pings = [];
  const bare = [];
  let going = true;
  const memory = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
  let most = 0;
  const pinging = (async () => {
    while (going) {
      const [one, other] = await Promise.all([ping(socket, agents[0]), ping(bareSocket, agents[1])]);
      pings.push(one);
      bare.push(other);
      most = Math.max(most, memory());
      await sleep(PING_EVERY_MS);
    }
  })();
  const took = await timed(work).finally(() => {
    going = false;
    return pinging;
  });
  for (const agent of agents) agent.destroy();
  const cells = [at(pings, 0.5), at(pings, 0.99), at(pings, 1), at(bare, 0.99)].map(
    (value) => `${value.toFixed(1)} ms`,
  );
  const megabytes = [memory(), most].map((bytes) => `${Math.round(bytes / 1e6)} MB`);
  return `| ${[name, `${(took / 1000).toFixed(1)} s`, ...cells, ...megabytes].join(' | ')} |`;
}

function at(values, quantile) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * quantile))];
}
