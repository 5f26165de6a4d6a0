/** Runs programs for a suite, and reads files and programs on PATH. */
import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Runs a program to its end.
 * @returns its exit status and its whole output.
 * @throws Error with its output if it fails, unless `failing` allows that.
 */
export async function run(program, args, { failing = false, ...options } = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const pieces = [];
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (piece) => {
      pieces.push(piece);
      if (process.env.VERBOSE) process.stderr.write(piece);
    });
  const [status, signal] = await once(child, 'close');
  const output = Buffer.concat(pieces).toString();
  if (status === 0 || failing) return { status, output };
  throw new Error(`${program} ${args.join(' ')}: ${signal ?? status}\n${output.slice(-4000)}`);
}

/** Returns the bytes of a file, or of a program on PATH. */
export function readProgram(name) {
  if (name.includes('/')) return readFileSync(name);
  const found = process.env.PATH.split(':')
    .map((folder) => join(folder, name))
    .find(existsSync);
  if (!found) throw new Error(`${name} is not installed`);
  return readFileSync(found);
}
