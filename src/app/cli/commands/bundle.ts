/** `layerstack bundle`: prints the path of the OCI bundle. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER DIR [COMMAND] [ARG...]',
  description:
    'Writes an OCI bundle to DIR, for `runc run --bundle DIR NAME`, and prints its path. The container is mounted for\n' +
    'it and stays so: unmount it when the runtime has ended.',
  options: {
    env: { type: 'string', short: 'e', multiple: true, value: 'NAME=VALUE', help: 'add a variable' },
    entrypoint: { type: 'string', value: 'PATH', help: "replace the container's entrypoint" },
    user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'user the command runs as' },
    workdir: {
      type: 'string',
      short: 'w',
      value: 'DIR',
      kind: 'none',
      help: 'directory the command starts in',
    },
    verbose: { type: 'boolean', help: 'say what of the host config became what of config.json' },
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
