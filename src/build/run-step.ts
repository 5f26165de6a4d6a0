/**
 * Runs the command of RUN in the RW layer of its step, with an OCI runtime. The run has a directory, as that
 * of a container has (container/run/directory.ts). So after a kill the next writer ends the command.
 */
import { StringDecoder } from 'node:string_decoder';
import { Writable } from 'node:stream';
import { LayerstackError } from '../core/errors.ts';
import { writeBundle } from '../container/bundle.ts';
import { hostnameOf } from '../container/documents.ts';
import { RunDirectory } from '../container/run/directory.ts';
import type { CommandEnd } from '../container/run/process.ts';
import { startRun } from '../container/run/start.ts';
import type { HostSettings, MountRequest } from '../container/spec/settings.ts';
import { containerVolumes, namedVolumes } from '../container/volumes.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import type { ImageConfig } from '../image/config.ts';
import { MountPoints } from './run-mounts.ts';
import { StepLayer, type StepStores } from './step-layer.ts';

export interface StepRun {
  readonly id: string;
  /** In messages, e.g. `step 3`. */
  readonly owner: string;
  readonly image: ImageConfig | undefined;
  /** The command is its `Cmd`. */
  readonly config: ContainerConfig;
  readonly host: HostSettings;
  readonly mounts: readonly MountRequest[];
  /** Absolute path. */
  readonly runtime: string;
  readonly signal: AbortSignal;
  readonly print: (text: string) => void;
}

/** The lines of output that an error repeats. */
const LAST_LINES = 10;
const MAX_LAST_CHARACTERS = 4096;

/**
 * Runs the command, and then `commit` with the changes.
 * @throws {@link LayerstackError} ERR_RUN_FAILED for a status other than 0; the errors of `writeBundle` and
 *   {@link startRun}.
 */
export async function runStep<T>(
  stores: StepStores,
  step: StepRun,
  commit: (layer: StepLayer) => Promise<T>,
): Promise<T> {
  const { root } = stores;
  const { id, owner, image, runtime, signal } = step;
  const run = await RunDirectory.make(root.layout, { id, remove: true, runtime });
  let isOver = false;
  try {
    const layer = await StepLayer.make(stores, { id, owner, image, runs: true, signal });
    try {
      await runIn(stores, step, layer, run);
      return await commit(layer);
    } finally {
      await layer[Symbol.asyncDispose]();
      isOver = true;
    }
  } finally {
    await root.aftermath.run('parts of a build step stay until the next writer removes them', () =>
      isOver ? run.remove() : run.leave(),
    );
  }
}

async function runIn(stores: StepStores, step: StepRun, layer: StepLayer, run: RunDirectory): Promise<void> {
  const { id, config, mounts, runtime, signal } = step;
  const mount = await layer.mountForRuntime();
  const points = await MountPoints.find(mount.path, mounts);
  await writeBundle(bundleSource(stores, step), mount, run.path);
  const { path, pidFile, logFile, lockFd } = run;
  const output = new Output(step.print);
  const end = await startRun(
    { id, runtime, path, pidFile, logFile, lockFd },
    {
      io: { stdout: output.stream(), stderr: output.stream() },
      ...{ detach: false, systemdCgroup: step.host.CgroupParent?.endsWith('.slice') === true, signal },
      onStart: () => undefined,
    },
  );
  if (end.status !== 0) throw failed(config.Cmd ?? [], end, output.lastLines);
  await points.remove();
}

function bundleSource({ root }: StepStores, { id, owner, config, host, mounts }: StepRun) {
  return {
    ...{ id, config: { ...config, Hostname: hostnameOf({ id }), Entrypoint: null } },
    host: { ...host, Mounts: [...(host.Mounts ?? []), ...mounts] },
    volumes: { ...containerVolumes(root, { id, name: id.slice(0, 12) }), owner },
    volumeOf: namedVolumes(root.layout),
    temporary: (path: string) => root.session().temporary(path),
  };
}

/** The error has docker's words. */
function failed(
  command: readonly string[],
  { status, signal }: CommandEnd,
  lines: readonly string[],
): LayerstackError {
  const how =
    signal === undefined ? '' : ` (${signal}${signal === 'SIGKILL' ? ', perhaps for lack of memory' : ''})`;
  const message = `The command '${command.join(' ')}' returned a non-zero code: ${status}${how}`;
  const output =
    lines.length === 0 ? '' : `. Its last lines are:\n${lines.map((line) => `    ${line}`).join('\n')}`;
  return new LayerstackError('ERR_RUN_FAILED', message + output, { found: status });
}

/** Prints the output of a command, and remembers its end. */
class Output {
  readonly #print: (text: string) => void;
  #last = '';

  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  /** Returns a stream whose bytes are text in UTF-8. */
  stream(): Writable {
    const decoder = new StringDecoder('utf8');
    return new Writable({
      write: (chunk: Buffer, _, done) => {
        const text = decoder.write(chunk);
        this.#last = (this.#last + text).slice(-MAX_LAST_CHARACTERS);
        this.#print(text);
        done();
      },
    });
  }

  get lastLines(): string[] {
    return this.#last.split('\n').filter(Boolean).slice(-LAST_LINES);
  }
}
