/**
 * Runs a program in which one call that changes a directory fails or kills the process (inject.c): the n-th
 * call of all threads together. Without a number it only counts.
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
  /** The error of that call. Without it, the process is killed before the call. */
  readonly errno?: Errno;
}

export interface Injected extends Ran {
  /** The counted calls as `NAME PATH`, in order. */
  readonly calls: readonly string[];
}

/** Compiles the library in a scratch directory, and runs programs with it. */
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

  /** Runs Node with these arguments, and counts the calls below `directory`. */
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
