/** `layerstack bundle`: writes an OCI bundle and prints its path. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER DIR [COMMAND] [ARG...]',
  description:
    'Write an OCI bundle to DIR, for `runc run --bundle DIR NAME`, and print its path. The container is mounted\n' +
    'for the bundle and stays mounted: unmount it when the runtime has ended.',
  options: {
    env: {
      type: 'string',
      short: 'e',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'add an environment variable',
    },
    entrypoint: { type: 'string', value: 'PATH', help: "replace the container's entrypoint" },
    user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'run the command as this user' },
    workdir: {
      type: 'string',
      short: 'w',
      value: 'DIR',
      kind: 'none',
      help: 'start the command in this directory',
    },
    verbose: { type: 'boolean', help: 'show which key of config.json each key of the host config became' },
  },
  operandsEndOptions: true,
  operands: { min: 2, max: Infinity, kinds: ['container', 'directory', 'none'] },
  examples: [
    {
      command: 'layerstack bundle job ./job /bin/echo hello',
      does: 'writes a bundle that runs another command',
    },
    { command: 'runc run --bundle ./job name', does: 'runs it' },
  ],
  async run(context, values, [name = '', directory = '', ...words]) {
    await using store = await context.open();
    const bundle = await store.containers.bundle(name, directory, {
      command: words.length > 0 ? words : undefined,
      entrypoint: values.entrypoint === undefined ? undefined : [values.entrypoint].filter(Boolean),
      env: values.env,
      user: values.user,
      workingDir: values.workdir,
    });
    if (values.verbose)
      for (const { key, to } of bundle.mapped) context.stderr.print(`layerstack: ${key} -> ${to}`);
    for (const unsupported of bundle.unsupported)
      context.stderr.print(`layerstack: warning: ${unsupportedText(unsupported)}`);
    for (const path of bundle.leftOut)
      context.stderr.print(`layerstack: warning: nothing is mounted for the image's volume ${path}`);
    context.print(bundle.path);
  },
});
