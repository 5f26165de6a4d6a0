/**
 * Programs that try the package (test/conformance/tools), installed on first use, in the versions of its
 * package.json.
 */
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { must } from './process.ts';

const TOOLS = fileURLToPath(new URL('../conformance/tools/', import.meta.url));

/** The versions of Node that layerstack supports. */
export const NODES = ['node20', 'node22', 'node24'] as const;

/** Returns the path of a file of one of the tools. */
export const tool = (path: string): string => `${TOOLS}node_modules/${path}`;

/** One of the {@link NODES}. */
export const node = (name: (typeof NODES)[number]): string => tool(`${name}/bin/node`);

/** Node for arm64. */
export const NODE_ARM64 = `${TOOLS}arm64/node_modules/node22/bin/node`;

export async function installTools(): Promise<void> {
  await install(TOOLS);
}

/** Uses --force, because npm checks the architecture of a package. */
export async function installArm64(): Promise<void> {
  await install(`${TOOLS}arm64/`, '--force');
}

async function install(directory: string, ...options: string[]): Promise<void> {
  // npm writes this file last.
  const installed = `${directory}node_modules/.package-lock.json`;
  if (existsSync(installed) && modified(installed) >= modified(`${directory}package.json`)) return;
  const quietly = ['--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund'];
  await must('npm', ['install', ...quietly, ...options], { cwd: directory });
}

const modified = (path: string): number => statSync(path).mtimeMs;
