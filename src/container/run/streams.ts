/**
 * The streams of a container without a terminal. Each is a pipe that the container shares with this process
 * alone. So the container never gets a file, socket or terminal of the caller, which it could open again with
 * more rights.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { callSync, native } from '../../system/native.ts';

/** For each stream that is left out, the command gets /dev/null. */
export interface RunStreams {
  /** The input of the command. */
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  /** Receives the output of the command. The stream is not ended. */
  readonly stdout?: NodeJS.WritableStream | undefined;
  readonly stderr?: NodeJS.WritableStream | undefined;
}

/** The first three files of the runtime. */
type Stdio = 'ignore' | number;

/** The open pipes of one container. */
export class RunPipes {
  readonly stdio: readonly [Stdio, Stdio, Stdio];
  readonly #input: Socket | undefined;
  /** The ends of the runtime, which this process closes when the runtime has them. */
  readonly #theirs: number[] = [];
  readonly #outputs: (() => Promise<void>)[] = [];
  readonly #stdin: RunStreams['stdin'];

  constructor({ stdin, stdout, stderr }: RunStreams) {
    this.#stdin = stdin;
    let first: Stdio = 'ignore';
    if (stdin !== undefined) {
      const [read, write] = callSync(() => native.makePipe());
      this.#theirs.push(read);
      this.#input = new Socket({ fd: write, readable: false, writable: true });
      first = read;
    }
    this.stdio = [first, this.#output(stdout), this.#output(stderr)];
  }

  /**
   * Begins to pass bytes on, when the runtime has its ends, or cannot be started. Resolves when all output is
   * passed on.
   */
  async start(): Promise<void> {
    for (const fd of this.#theirs) closeSync(fd);
    const input = this.#input;
    if (input !== undefined && this.#stdin !== undefined)
      // The command may end, or close its input, before it has read everything.
      pipeline(this.#stdin, input).catch(() => input.destroy());
    await Promise.all(this.#outputs.map((pass) => pass()));
  }

  /** Ends the input, when the runtime has ended. */
  end(): void {
    this.#input?.destroy();
  }

  #output(to: NodeJS.WritableStream | undefined): Stdio {
    if (to === undefined) return 'ignore';
    const [read, write] = callSync(() => native.makePipe());
    this.#theirs.push(write);
    const from = new Socket({ fd: read, readable: true, writable: false });
    // Where the reader of the output has gone away, the command gets SIGPIPE.
    this.#outputs.push(() => pipeline(from, to, { end: false }).catch(() => void from.destroy()));
    return write;
  }
}
