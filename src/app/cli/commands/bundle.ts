/** `layerstack bundle`: writes an OCI bundle and prints its path. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import { archiveChoice, ARCHIVE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { isArchivePath } from '../archive-path.ts';
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER|ARCHIVE DIR [COMMAND] [ARG...]',
  description:
    'Write an OCI bundle to DIR, for `runc run --bundle DIR NAME`, and print its path. The container is mounted\n' +
    'for the bundle and stays mounted: unmount it when the runtime has ended. An argument with a slash in it is the path of\n' +
    'an archive, which is mounted as by `layerstack mount`.',
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
    ...ARCHIVE_OPTIONS,
    verbose: { type: 'boolean', help: 'show which key of config.json each key of the host config became' },
  },
  operandsEndOptions: true,
  operands: { min: 2, max: Infinity, kinds: ['mountable', 'directory', 'none'] },
  examples: [
    {
      command: 'layerstack bundle job ./job /bin/echo hello',
      does: 'writes a bundle that runs another command',
    },
    { command: 'runc run --bundle ./job name', does: 'runs it' },
    {
      command: 'layerstack bundle ./app.tar ./job',
      does: 'writes a bundle of an archive, without loading it',
    },
  ],
  async run(context, values, [name = '', directory = '', ...words]) {
    const isArchive = isArchivePath(name);
    if (!isArchive) refuseArchiveOptions(values);
    await using store = await context.open();
    const options = {
      command: words.length > 0 ? words : undefined,
      entrypoint: values.entrypoint === undefined ? undefined : [values.entrypoint].filter(Boolean),
      env: values.env,
      user: values.user,
      workingDir: values.workdir,
    };
    const bundle = isArchive
      ? await store.archives.bundle(name, directory, { ...options, ...archiveChoice(values) })
      : await store.containers.bundle(name, directory, options);
    if (values.verbose)
      for (const { key, to } of bundle.mapped) context.stderr.print(`layerstack: ${key} -> ${to}`);
    for (const unsupported of bundle.unsupported)
      context.stderr.print(`layerstack: warning: ${unsupportedText(unsupported)}`);
    for (const path of bundle.leftOut)
      context.stderr.print(`layerstack: warning: nothing is mounted for the image's volume ${path}`);
    context.print(bundle.path);
  },
});
