/** The layerstack command, run like a user does: the built command in its own process. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mustRun, run, type Ran, type RunOptions } from './process.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** The CLI's entry point. */
export const CLI = join(HOME, 'dist/bundle/main.js');

/**
 * @throws Error if `dist` is older than the sources: the test would run an old program.
 */
function checkBuilt(): void {
  const built = statSync(CLI, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const newest = ['src', 'packaging']
    .flatMap((part) => readdirSync(join(HOME, part), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
  if (newest > built)
    throw new Error('dist/ is missing or older than src/ or packaging/: run `npm run build:ts` first');
}

let checked = false;

/** The command on one root. */
export class LayerstackCli {
  readonly root: string;
  readonly #options: readonly string[];

  constructor(root: string, ...options: string[]) {
    if (!checked) checkBuilt();
    checked = true;
    this.root = root;
    this.#options = options;
  }

  /** Arguments of `node` for a command, to run it under another program. */
  argv(...args: string[]): string[] {
    return [CLI, '--root', this.root, ...this.#options, ...args];
  }

  /** Runs a command, whatever its exit status. */
  try(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return run(process.execPath, this.argv(...args), options);
  }

  /** Runs a command that must succeed, and returns its standard output without the final newline. */
  async run(...args: string[]): Promise<string> {
    return (await mustRun(process.execPath, this.argv(...args))).stdout.trimEnd();
  }

  /** Runs `inspect` for one object. */
  async inspect(name: string): Promise<Record<string, unknown>> {
    const documents = JSON.parse(await this.run('inspect', name)) as Record<string, unknown>[];
    const first = documents[0];
    if (!first) throw new Error(`layerstack inspect ${name} printed nothing`);
    return first;
  }
}
