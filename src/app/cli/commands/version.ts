/**
 * `layerstack version`: prints the version of this program and its platform, in the form of `docker version`.
 */
import { release } from 'node:os';
import { packageVersion } from '../../../system/package-version.ts';
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description: 'Show the versions of layerstack, Node and the kernel.',
  options: {
    format: {
      type: 'string',
      short: 'f',
      value: 'FORMAT',
      kind: ['json'],
      help: 'json, or a Go template: {{.Version}}',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [{ command: "layerstack version -f '{{.Version}}'", does: 'prints the version alone' }],
  async run(context, { format }) {
    const version = {
      Version: packageVersion(),
      NodeVersion: process.versions.node,
      Os: process.platform,
      Arch: GO_ARCH[process.arch] ?? process.arch,
      KernelVersion: release(),
    };
    if (format === 'json') context.print(JSON.stringify(version));
    else if (format === undefined)
      context.print('Client:', ...LABELS.map(([name, label]) => ` ${label.padEnd(18)}${version[name]}`));
    else {
      const { documentFormat } = await import('../go-format.ts');
      context.print(...documentFormat(format)(version).split('\n'));
    }
  },
});

/** The names of processors in Go. */
const GO_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

const LABELS = [
  ['Version', 'Version:'],
  ['NodeVersion', 'Node version:'],
  ['Os', 'OS:'],
  ['Arch', 'Architecture:'],
  ['KernelVersion', 'Kernel version:'],
] as const;
