/** `layerstack build`: builds an image from a Dockerfile; prints what docker's classic builder prints. */
import { writeFile } from 'node:fs/promises';
import { buildInput } from '../build-context.ts';
import { BuildDisplay } from '../build-display.ts';
import { BUILD_STATUSES } from '../build-statuses.ts';
import { defineCommand, UsageError } from '../command.ts';
import { sourceDateEpoch } from '../epoch.ts';
import { HOST_OPTIONS, hostConfigOf } from '../host-options.ts';
import { labelsOf } from '../labels.ts';

/** Options of `run` that docker's `build` has too. They apply to the commands of RUN. */
const RUN_OPTIONS = {
  'add-host': HOST_OPTIONS['add-host'],
  'cgroup-parent': HOST_OPTIONS['cgroup-parent'],
  'cpu-period': HOST_OPTIONS['cpu-period'],
  'cpu-quota': HOST_OPTIONS['cpu-quota'],
  'cpu-shares': HOST_OPTIONS['cpu-shares'],
  'cpuset-cpus': HOST_OPTIONS['cpuset-cpus'],
  'cpuset-mems': HOST_OPTIONS['cpuset-mems'],
  memory: HOST_OPTIONS.memory,
  'memory-swap': HOST_OPTIONS['memory-swap'],
  'security-opt': HOST_OPTIONS['security-opt'],
  'shm-size': HOST_OPTIONS['shm-size'],
  ulimit: HOST_OPTIONS.ulimit,
} as const;

export const command = defineCommand({
  usage: '[OPTIONS] DIRECTORY|-',
  description:
    'Build an image from a Dockerfile and the files of a directory, the context. `-` reads the context as a tar from stdin,\n' +
    "or a Dockerfile alone. The result is that of docker's classic builder, with heredocs, RUN --mount and COPY --chmod in\n" +
    'addition. The images of the steps are the cache: the next build continues after the last step that is unchanged.\n' +
    "dockerd's own steps count too. `layerstack prune` removes the cache.\n" +
    '\n' +
    'RUN has no network, unless `--network host` is given. SOURCE_DATE_EPOCH in the environment is the date of the image;\n' +
    'files in its layers that are newer get this date.',
  options: {
    tag: { type: 'string', short: 't', multiple: true, value: 'NAME[:TAG]', help: 'name the image' },
    file: {
      type: 'string',
      short: 'f',
      value: 'FILE',
      help: 'Dockerfile (default: DIRECTORY/Dockerfile; - is stdin)',
    },
    'build-arg': { type: 'string', multiple: true, value: 'NAME[=VALUE]', help: 'value of an ARG' },
    target: { type: 'string', value: 'STAGE', help: 'stage to build (default: the last one)' },
    label: { type: 'string', multiple: true, value: 'NAME=VALUE', help: 'set a label of the image' },
    'no-cache': { type: 'boolean', help: 'make every step again' },
    'cache-from': {
      type: 'string',
      multiple: true,
      value: 'IMAGE',
      help: 'use only steps of this image as the cache',
    },
    pull: { type: 'boolean', help: 'pull the images of FROM even if the store has them' },
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      help: 'platform of the images of FROM (default: this machine)',
    },
    network: { type: 'string', value: 'none|host', help: 'network of RUN (default: none)' },
    secret: {
      type: 'string',
      multiple: true,
      value: 'id=ID,src=FILE',
      help: 'file for RUN --mount=type=secret',
    },
    squash: { type: 'boolean', help: 'make one layer of all layers above the base' },
    iidfile: { type: 'string', value: 'FILE', help: "write the image's id to a file" },
    quiet: { type: 'boolean', short: 'q', help: "print the image's id only" },
    progress: { type: 'string', value: 'auto|plain', help: 'both show a line for each step' },
    ...RUN_OPTIONS,
    runtime: {
      type: 'string',
      value: 'NAME|PATH',
      kind: 'none',
      help: 'runtime for RUN (default: runc, else crun)',
    },
    rm: { type: 'boolean', help: 'no effect: the container of a step is always removed' },
    'force-rm': { type: 'boolean', help: 'no effect: the container of a step is always removed' },
  },
  operands: { min: 1, max: 1, kinds: ['directory'] },
  statuses: BUILD_STATUSES,
  examples: [
    { command: 'layerstack build -t app:1 .', does: 'builds the Dockerfile of the working directory' },
    {
      command: 'layerstack build -f build/Dockerfile --target test --build-arg VERSION=2 .',
      does: 'builds one stage of another Dockerfile',
    },
    {
      command: 'layerstack build --secret id=token,src=./token -t app:1 .',
      does: 'shows a file to RUN, and keeps no copy',
    },
    { command: 'git archive HEAD | layerstack build -t app:1 -', does: 'builds what is committed' },
  ],
  async run(context, values, [directory = '']) {
    const { progress = 'auto', iidfile, quiet = false } = values;
    if (!['auto', 'plain'].includes(progress))
      throw new UsageError(`--progress ${JSON.stringify(progress)} is unknown: use auto or plain`);
    const { source, ...dockerfile } = await buildInput(directory, values.file, context.stdin);
    const options = {
      ...dockerfile,
      tags: values.tag,
      buildArgs: buildArgsOf(values['build-arg'] ?? []),
      target: values.target,
      labels: labelsOf(values.label),
      noCache: values['no-cache'],
      cacheFrom: values['cache-from']?.flatMap((names) => names.split(',')),
      pull: values.pull,
      platform: values.platform,
      network: networkOf(values.network),
      secrets: secretsOf(values.secret ?? []),
      squash: values.squash,
      hostConfig: { ...(await hostConfigOf({ ...values, runtime: undefined, network: undefined })) },
      runtime: values.runtime,
      sourceDateEpoch: sourceDateEpoch(),
    };
    const display = new BuildDisplay(context, quiet);
    await using store = await context.open();
    try {
      const { imageId, warnings } = await store.images.build(source, {
        ...options,
        signal: context.signal,
        onProgress: display.show,
      });
      if (iidfile !== undefined) await writeFile(iidfile, imageId);
      if (!quiet) return;
      for (const warning of warnings) context.stderr.print(`layerstack: warning: ${warning}`);
      context.print(imageId);
    } catch (error) {
      throw display.explain(error);
    }
  },
});

/** `NAME` alone takes its value from the environment of this process, as in docker. */
function buildArgsOf(entries: readonly string[]): Record<string, string> {
  const found = new Map<string, string>();
  for (const entry of entries) {
    const at = entry.indexOf('=');
    const name = at < 0 ? entry : entry.slice(0, at);
    if (name === '') throw new UsageError(`--build-arg ${JSON.stringify(entry)}: write NAME=VALUE`);
    const value = at < 0 ? process.env[name] : entry.slice(at + 1);
    if (value !== undefined) found.set(name, value);
  }
  return Object.fromEntries(found);
}

function networkOf(network: string | undefined): 'none' | 'host' | undefined {
  if (network === undefined || network === 'none' || network === 'host') return network;
  throw new UsageError(`--network ${JSON.stringify(network)} is not supported: use none or host`);
}

/** Parses `id=ID,src=FILE`. Without an id, the file's path is the id, as in docker. */
function secretsOf(entries: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    entries.map((entry) => {
      const fields = new Map(
        entry.split(',').map((field): [string, string] => {
          const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(field) ?? [];
          return [key === 'source' ? 'src' : key, value];
        }),
      );
      const src = fields.get('src') ?? '';
      const known = [...fields].every(([key, value]) => ['id', 'src', 'type'].includes(key) && value !== '');
      if (!known || src === '' || (fields.get('type') ?? 'file') !== 'file')
        throw new UsageError(`--secret ${JSON.stringify(entry)}: write id=ID,src=FILE`);
      return [fields.get('id') ?? src, src];
    }),
  );
}
