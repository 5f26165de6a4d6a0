/** Contexts for builds: a Dockerfile and busybox, on which its stages begin. */
import { readFileSync } from 'node:fs';
import { findProgram } from '../../src/system/programs.ts';
import { tar, type TarMember } from './tar.ts';

const BASE = ['FROM scratch AS base', ...['sh', 'cat', 'sleep'].map((name) => `COPY busybox /bin/${name}`)];

/** Returns a Dockerfile whose stages can begin with `base`, which has sh, cat and sleep. */
export function onBusybox(...lines: readonly string[]): string {
  return [...BASE, ...lines, ''].join('\n');
}

/** Returns the program of {@link onBusybox}. */
export function busybox(): Buffer {
  const path = findProgram('busybox');
  if (path === undefined) throw new Error('busybox is not installed; .ci/run installs it');
  return readFileSync(path);
}

/** Returns the tar of a context. */
export function buildContext(
  dockerfile: string,
  name = 'Dockerfile',
  files: readonly TarMember[] = [],
): Buffer {
  return tar([{ name, content: dockerfile }, { name: 'busybox', mode: 0o755, content: busybox() }, ...files]);
}
