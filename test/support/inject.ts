/**
 * Runs a program in which one call that changes a directory fails or kills it (inject.c): the n-th of all its threads together,
 * wherever it is made. Without a number it counts.
 */
import { readFileSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must, run, type Ran } from './process.ts';

const SOURCE = fileURLToPath(new URL('inject.c', import.meta.url));

export type Errno = 'EIO' | 'ENOSPC' | 'EINTR' | 'EMFILE' | 'ENOMEM';

export interface Injection {
  /** Number of the call, from 1; 0: none. */
  readonly at: number;
  /** What it fails with. Without: the process is killed before it. */
  readonly errno?: Errno;
}

export interface Injected extends Ran {
  /** The calls that were counted, `NAME PATH`, in order. */
  readonly calls: readonly string[];
}

/** An injector whose library is in a scratch directory. */
export class Injector {
  readonly #library: string;
  readonly #log: string;

  private constructor(library: string, log: string) {
    this.#library = library;
    this.#log = log;
  }

  static async build(scratch: string): Promise<Injector> {
    const library = join(scratch, 'inject.so');
    await must('cc', ['-O1', '-Wall', '-Werror', '-shared', '-fPIC', '-o', library, SOURCE, '-ldl']);
    return new Injector(library, join(scratch, 'inject.log'));
  }

  /** Runs Node with these arguments; the calls below `directory` count. */
  async run(args: readonly string[], directory: string, { at, errno }: Injection): Promise<Injected> {
    rmSync(this.#log, { force: true });
    const ran = await run(process.execPath, args, {
      env: {
        LD_PRELOAD: this.#library,
        INJECT_ROOT: directory,
        INJECT_AT: String(at),
        INJECT_LOG: this.#log,
        ...(errno && { INJECT_ERRNO: String(constants.errno[errno]) }),
      },
    });
    const calls = readFileSync(this.#log, 'utf8').trimEnd().split('\n');
    return { ...ran, calls: calls.map((line) => line.slice(line.indexOf(' ') + 1)) };
  }
}
