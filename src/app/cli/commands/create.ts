/** `layerstack create`: makes a container; prints its id. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import { defineCommand } from '../command.ts';
import { hostConfigOf, HOST_OPTIONS } from '../host-options.ts';

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  description:
    'Make a container, an empty writable layer on an image, and print its id. A bundle of the container runs COMMAND. The\n' +
    "options are those of docker's `create`.",
  options: {
    name: { type: 'string', value: 'NAME', help: 'name of the container (default: a generated name)' },
    entrypoint: { type: 'string', value: 'PATH', help: "replace the image's entrypoint" },
    env: {
      type: 'string',
      short: 'e',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'set an environment variable',
    },
    user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'run the command as this user' },
    workdir: {
      type: 'string',
      short: 'w',
      value: 'DIR',
      kind: 'none',
      help: 'start the command in this directory',
    },
    hostname: { type: 'string', value: 'NAME', help: 'host name (default: the first 12 digits of the id)' },
    durable: { type: 'boolean', help: 'print the id only when the container is on disk' },
    label: { type: 'string', short: 'l', multiple: true, value: 'NAME=VALUE', help: 'set a label' },
    domainname: { type: 'string', value: 'NAME', help: 'NIS domain name' },
    tty: { type: 'boolean', short: 't', help: 'give the command a terminal' },
    'ignore-unsupported': {
      type: 'boolean',
      help: 'keep options that no bundle can carry, and warn, instead of refusing them',
    },
    ...HOST_OPTIONS,
  },
  operandsEndOptions: true,
  operands: { min: 1, max: Infinity, kinds: ['image', 'none'] },
  examples: [
    { command: 'layerstack create --name build app:1', does: 'makes a container' },
    {
      command: 'layerstack create --name small --memory 64m --read-only app:1',
      does: 'makes one with limits',
    },
  ],
  async run(context, values, [image = '', ...words]) {
    const hostConfig = await hostConfigOf(values);
    await using store = await context.open();
    const container = await store.containers.create(image, {
      name: values.name,
      entrypoint: values.entrypoint === undefined ? undefined : [values.entrypoint].filter(Boolean),
      command: words.length > 0 ? words : undefined,
      env: values.env?.map(withValue),
      user: values.user,
      workingDir: values.workdir,
      hostname: values.hostname,
      durable: values.durable,
      domainname: values.domainname,
      tty: values.tty,
      hostConfig,
      ignoreUnsupported: values['ignore-unsupported'],
      onUnsupported: (unsupported) =>
        context.stderr.print(`layerstack: warning: ${unsupportedText(unsupported)}`),
      labels: values.label && Object.fromEntries(values.label.map(pair)),
      signal: context.signal,
    });
    context.print(container.id);
  },
});

/** Returns the variable; `NAME` alone takes its value from the environment of this process, as in docker. */
function withValue(entry: string): string {
  return entry.includes('=') ? entry : `${entry}=${process.env[entry] ?? ''}`;
}

function pair(entry: string): [string, string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}
