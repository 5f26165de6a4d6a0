/**
 * The service manager's side of sd_notify(3): a datagram socket (in Python, because Node has none) that
 * records its messages.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

const RECEIVER = `
import json, socket, sys
name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind('\\0' + name[1:] if name.startswith('@') else name)
print('"ready"', flush=True)
while True:
    print(json.dumps(receiver.recv(65536).decode()), flush=True)
`;

export class NotifySocket implements AsyncDisposable {
  readonly address: string;
  readonly #child: ChildProcess;
  #out = '';

  private constructor(address: string) {
    this.address = address;
    this.#child = spawn('python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#out += chunk.toString()));
  }

  /** @param address a path, or `@name` for an abstract one */
  static async listen(address: string): Promise<NotifySocket> {
    const socket = new NotifySocket(address);
    await socket.#until((lines) => lines.length > 0);
    return socket;
  }

  /** All datagrams so far. */
  get messages(): string[] {
    return this.#lines().slice(1);
  }

  /** Waits for the first datagram that contains this text. */
  async received(text: string): Promise<string> {
    const found = (lines: readonly string[]): string | undefined => lines.find((line) => line.includes(text));
    await this.#until((lines) => found(lines) !== undefined);
    return found(this.#lines()) ?? '';
  }

  #lines(): string[] {
    return this.#out
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as string);
  }

  async #until(enough: (lines: readonly string[]) => boolean): Promise<void> {
    for (const start = Date.now(); !enough(this.#lines()); await sleep(10))
      if (Date.now() - start > 30_000) throw new Error(`not received:\n${this.#out}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
