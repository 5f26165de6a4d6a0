/**
 * A private dockerd on a data-root that the test chooses, and the docker client that talks to it.
 *
 * dockerd starts containerd as its child. It bind-mounts a root that is not on a shared mount onto itself,
 * and leaves that mount behind when it fails to start. This class cleans up all of it. Socket, pid file and
 * exec root are in a scratch directory of their own, so that the data-root holds only the store.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFailure, run, type Ran, type RunOptions } from './process.ts';
import { dropScratch, makeScratch, mountsBelow, unmountBelow } from './scratch.ts';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 60_000;

/** Whether `pid` is a live process of this name: neither a zombie nor a later process with the same id. */
function isRunning(pid: number, name: string): boolean {
  try {
    const [, command, state] = /\((.*)\) (\S)/.exec(readFileSync(`/proc/${String(pid)}/stat`, 'utf8')) ?? [];
    return command === name && state !== 'Z';
  } catch {
    return false;
  }
}

export class Dockerd {
  readonly root: string;
  readonly host: string;
  readonly #child: ChildProcess;
  readonly #work: string;
  readonly #ended: Promise<void>;

  private constructor(root: string, work: string, child: ChildProcess) {
    this.root = root;
    this.host = `unix://${join(work, 'sock')}`;
    this.#work = work;
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /**
   * Starts a daemon with these settings (daemon.json) and waits until it answers.
   * @throws Error with the daemon's log if it does not answer
   */
  static async start(root: string, settings: object = {}): Promise<Dockerd> {
    const work = makeScratch('dockerd');
    mkdirSync(root, { recursive: true });
    const log = openSync(join(work, 'log'), 'a');
    const args = [
      ['--data-root', root],
      ['--exec-root', join(work, 'exec')],
      ['--pidfile', join(work, 'pid')],
      ['-H', `unix://${join(work, 'sock')}`],
      ['--storage-driver', 'overlay2'],
      ['--iptables=false', '--bridge=none'],
    ].flat();
    // Replaces /etc/docker/daemon.json: the settings of the machine's own daemon must not apply here.
    const config = join(work, 'daemon.json');
    writeFileSync(config, JSON.stringify(settings));
    const child = spawn('dockerd', ['--config-file', config, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, TMPDIR: work },
    });
    child.on('error', () => undefined);
    closeSync(log);
    const daemon = new Dockerd(root, work, child);
    const deadline = Date.now() + START_TIMEOUT_MS;
    while ((await daemon.try('version')).status !== 0) {
      if (child.exitCode !== null || child.signalCode !== null || !child.pid || Date.now() > deadline) {
        const text = daemon.log();
        await daemon.stop();
        throw new Error(`dockerd on ${root} did not start:\n${text}`);
      }
      await sleep(100);
    }
    return daemon;
  }

  /** Returns the daemon's log so far. */
  log(): string {
    return readFileSync(join(this.#work, 'log'), 'utf8');
  }

  /** Runs the docker client, whatever its exit status. */
  try(...args: string[]): Promise<Ran> {
    return run('docker', args, { env: this.#env() });
  }

  /** Runs the docker client and returns its standard output without the final newline. */
  async docker(...args: string[]): Promise<string> {
    return (await this.dockerRun(args)).stdout.trimEnd();
  }

  async dockerRun(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const ran = await run('docker', args, { ...options, env: { ...this.#env(), ...options.env } });
    if (ran.status === 0) return ran;
    throw new Error(`${describeFailure(ran)}\ndockerd says:\n${this.log().slice(-3000)}`);
  }

  /** Runs `docker image inspect` or `docker inspect` for one object. */
  async inspect(name: string): Promise<Record<string, unknown>> {
    const documents = JSON.parse(await this.docker('inspect', name)) as Record<string, unknown>[];
    const first = documents[0];
    if (!first) throw new Error(`docker inspect ${name} printed nothing`);
    return first;
  }

  /** Stops the daemon and its containerd gracefully. A second call does nothing. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid) {
      this.#child.kill('SIGTERM');
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await this.#ended;
      clearTimeout(timer);
    }
    await this.#stopContainerd();
    await unmountBelow(this.#work);
    // The daemon's bind mount of its root, and the mounts that a killed daemon left below it.
    if (mountsBelow(this.root).length > 0) await unmountBelow(this.root);
    await dropScratch(this.#work);
  }

  /** Stops a containerd that survived: dockerd stops its containerd, but not if dockerd failed to start. */
  async #stopContainerd(): Promise<void> {
    let pid: number;
    try {
      pid = Number(readFileSync(join(this.#work, 'exec/containerd/containerd.pid'), 'utf8'));
    } catch {
      return;
    }
    for (let waited = 0; waited < 100; waited++) {
      if (!isRunning(pid, 'containerd')) return;
      if (waited === 0 || waited === 80) process.kill(pid, waited === 0 ? 'SIGTERM' : 'SIGKILL');
      await sleep(100);
    }
  }

  #env(): Record<string, string> {
    return { DOCKER_HOST: this.host, DOCKER_BUILDKIT: '0', DOCKER_CONFIG: join(this.#work, 'client') };
  }
}
