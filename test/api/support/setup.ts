/**
 * Runs once before the service's tests: installs dockerode from its own lock file, without compiling
 * anything.
 */
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { must } from '../../support/process.ts';

const HOME = fileURLToPath(new URL('../dockerode/', import.meta.url));

export default async function setup(): Promise<void> {
  // npm writes this file last.
  const installed = `${HOME}node_modules/.package-lock.json`;
  if (existsSync(installed) && modified(installed) >= modified(`${HOME}package-lock.json`)) return;
  await must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: HOME });
}

const modified = (path: string): number => statSync(path).mtimeMs;
