/** Measures wall time of commands, their peak memory, and the most bytes on a volume. */
import { spawn } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { clearInterval, setInterval } from 'node:timers';

/** Runs a command. Rejects with its output if it fails. */
export function sh(command, args, { env, onSpawn, input } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: [input ?? 'ignore', 'pipe', 'pipe'],
    });
    onSpawn?.(child.pid);
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.on('error', reject);
    child.on('close', (status) => {
      if (status === 0) resolve(out.trimEnd());
      else
        reject(
          new Error(`${command} ${args.join(' ')}: exit ${status}\n${out.slice(-1000)}${err.slice(-2000)}`),
        );
    });
  });
}

/** Returns the milliseconds that `work` takes. */
export async function timed(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

/** Measures `count` times, one after the other. Returns milliseconds. */
export async function runs(count, measure) {
  const values = [];
  for (let run = 0; run < count; run++) values.push(await measure());
  return { values };
}

/**
 * Measures each program `count` times, in turn, so that a slow phase of the machine affects all of them.
 * Returns milliseconds by the programs' names.
 */
export async function runsInTurn(count, programs) {
  const measured = Object.fromEntries(Object.keys(programs).map((name) => [name, { values: [] }]));
  for (let run = 0; run < count; run++)
    for (const [name, measure] of Object.entries(programs)) measured[name].values.push(await measure());
  return measured;
}

/** Returns the bytes in use on the file system of `path`. */
export function bytesUsed(path) {
  const { blocks, bfree, bsize } = statfsSync(path);
  return (blocks - bfree) * bsize;
}

/**
 * Runs a command and watches it. Returns milliseconds, its output, its peak resident memory, and the most
 * bytes by which `volume` grew.
 */
export async function watched(command, args, { volume, ...options }) {
  const before = bytesUsed(volume);
  const peak = { memory: 0, disk: 0 };
  let pid;
  const look = () => {
    peak.disk = Math.max(peak.disk, bytesUsed(volume) - before);
    try {
      const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
      peak.memory = Math.max(peak.memory, Number(kib ?? 0) * 1024);
    } catch {
      // The process has ended; the last sample counts.
    }
  };
  const timer = setInterval(look, 20);
  let output;
  const ms = await timed(async () => {
    output = await sh(command, args, { ...options, onSpawn: (id) => (pid = id) });
  });
  clearInterval(timer);
  await sh('sync', ['-f', volume]);
  return { ms, output, memory: peak.memory, disk: peak.disk, final: bytesUsed(volume) - before };
}

/** Returns median, least and most of some numbers. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], min: sorted[0], max: sorted.at(-1) };
}
