/** A dockerd for one measured run, and its API, called without the start-up time of a client. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Buffer } from 'node:buffer';
import { closeSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sh } from './measure.js';
import { dropDirectory, onSignal } from './undo.js';

/** Seconds in which a daemon must stop when the benchmark is killed. */
const STOP_SECONDS = 20;

/** Starts a daemon on `root`, passes it to `work`, and stops it. */
export async function withDockerd(root, work) {
  const scratch = mkdtempSync(join(tmpdir(), 'layerstack-bench-dockerd-'));
  const socket = join(scratch, 'sock');
  const log = join(scratch, 'log');
  writeFileSync(join(scratch, 'daemon.json'), '{}');
  const fd = openSync(log, 'w');
  const args = ['--config-file', join(scratch, 'daemon.json'), '--data-root', root];
  args.push(
    '--exec-root',
    join(scratch, 'exec'),
    '--pidfile',
    join(scratch, 'pid'),
    '-H',
    `unix://${socket}`,
  );
  args.push('--storage-driver', 'overlay2', '--iptables=false', '--bridge=none');
  // If this process is killed by SIGKILL, the daemon stops by itself.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', 'dockerd', ...args], { stdio: ['ignore', fd, fd] });
  closeSync(fd);
  const ended = once(child, 'exit');
  const forget = onSignal(() => {
    child.kill('SIGTERM');
    const waiting = `for i in $(seq ${STOP_SECONDS * 10}); do [ "$(ps -o stat= -p ${child.pid} | cut -c1)" = Z ] && exit; sleep 0.1; done`;
    spawnSync('sh', ['-c', waiting], { stdio: 'ignore' });
    dropDirectory(scratch, root);
  });
  const env = { DOCKER_HOST: `unix://${socket}` };
  const docker = (...words) => sh('docker', words, { env });
  try {
    for (let tries = 0; ; tries++) {
      if (
        await docker('version').then(
          () => true,
          () => false,
        )
      )
        break;
      if (child.exitCode !== null || tries > 300) throw new Error(`dockerd: ${readFileSync(log, 'utf8')}`);
      await sleep(100);
    }
    return await work({ docker, env, api: (method, path, body) => call(socket, method, path, body) });
  } finally {
    child.kill('SIGTERM');
    await ended;
    dropDirectory(scratch, root); // dockerd bind-mounts its root on itself
    forget();
  }
}

function call(socketPath, method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const message = request({ socketPath, method, path, headers }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode >= 400)
          reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
        else resolve(text && method !== 'HEAD' ? JSON.parse(text) : undefined);
      });
    });
    message.on('error', reject);
    message.end(body && JSON.stringify(body));
  });
}
