/**
 * The engine that a suite runs against: its own layerstack service, its own dockerd (`ENGINE=dockerd`), or
 * the engine on `SOCKET`. Names on docker.io lead to a registry on loopback that holds the suites' images
 * (images.js).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, URL } from 'node:url';
import { run } from './run.js';

const CLI = fileURLToPath(new URL('../../../dist/bundle/main.js', import.meta.url));
const START_MS = 60_000;

/**
 * Starts the engine that the environment selects, passes it to `work`, and stops it.
 * @param directory - an empty directory for its root, socket and log.
 * @param mirror - `http://HOST:PORT` of the registry that replaces docker.io.
 */
export async function withEngine(directory, mirror, work) {
  const given = process.env.SOCKET;
  if (given) return work({ name: given, socket: given });
  const name = process.env.ENGINE ?? 'layerstack';
  const socket = join(directory, 'sock');
  const root = join(directory, 'root');
  const command = { layerstack: layerstack, dockerd: dockerd }[name];
  if (!command) throw new Error(`ENGINE is layerstack or dockerd, not ${name}`);
  const [program, ...args] = command(directory, root, socket, mirror);
  const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = once(child, 'exit');
  try {
    for (const start = Date.now(); !(await answers(socket)); await sleep(100))
      if (child.exitCode !== null || Date.now() - start > START_MS) throw new Error(`${name} does not start`);
    return await work({ name, socket });
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

function layerstack(directory, root, socket, mirror) {
  mkdirSync(join(root, 'layerstack'), { recursive: true });
  const registries = { 'docker.io': { mirrors: [mirror] } };
  writeFileSync(join(root, 'layerstack/registries.json'), JSON.stringify({ registries }));
  return [process.execPath, CLI, '--root', root, 'serve', '-H', `unix://${socket}`, '--log-level', 'error'];
}

function dockerd(directory, root, socket, mirror) {
  const config = join(directory, 'daemon.json');
  writeFileSync(
    config,
    JSON.stringify({ 'registry-mirrors': [mirror], 'log-level': process.env.VERBOSE ? 'debug' : 'error' }),
  );
  return [
    ...['dockerd', '--config-file', config, '--data-root', root, '--exec-root', join(directory, 'exec')],
    ...['--pidfile', join(directory, 'pid'), '-H', `unix://${socket}`],
    ...['--storage-driver', 'overlay2', '--iptables=false', '--bridge=none'],
  ];
}

function answers(socketPath) {
  return new Promise((resolve) => {
    const message = request({ socketPath, path: '/_ping' }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    message.on('error', () => resolve(false));
    message.end();
  });
}

/** Runs docker's client with an engine, without the caller's login and context. */
export function docker(socket, ...words) {
  return run('docker', ['-H', `unix://${socket}`, ...words], {
    env: { ...process.env, DOCKER_CONFIG: dirname(socket), DOCKER_API_VERSION: '1.41' },
  });
}
