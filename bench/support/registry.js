/** A registry on loopback for some measured runs: Debian's docker-registry with its own storage folder. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sh } from './measure.js';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a registry, passes its host (`localhost:PORT`) to `work`, and stops it. */
export async function withRegistry(work) {
  const scratch = mkdtempSync(join(tmpdir(), 'layerstack-bench-registry-'));
  const host = `localhost:${await freePort()}`;
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(scratch, 'storage') } },
    http: { addr: host.replace('localhost', '127.0.0.1'), secret: 'bench' },
  };
  writeFileSync(join(scratch, 'config.yml'), JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', join(scratch, 'config.yml')], {
    stdio: 'ignore',
    env: { PATH: process.env.PATH, HOME: scratch, OTEL_TRACES_EXPORTER: 'none' },
  });
  const ended = once(child, 'exit');
  try {
    const answers = () =>
      sh('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${host}/none`]).catch((error) =>
        /manifest unknown|name unknown|not found/.test(error.message),
      );
    for (let tries = 0; (await answers()) === false; tries++) {
      if (child.exitCode !== null || tries > 100) throw new Error('docker-registry does not start');
      await sleep(100);
    }
    return await work(host);
  } finally {
    child.kill('SIGTERM');
    await ended;
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Pushes a docker-archive to a registry, with its layers compressed by gzip. */
export async function seed(archive, reference) {
  await sh('skopeo', [
    ...['--insecure-policy', 'copy', '-q', '--dest-tls-verify=false'],
    ...[`docker-archive:${archive}`, `docker://${reference}`],
  ]);
}
