/** `layerstack create`: prints the container's id. */
import { defineCommand } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  description:
    'Makes a container, an empty writable layer on an image, and prints its id. COMMAND is what `bundle` runs.',
  options: {
    name: { type: 'string', value: 'NAME', help: 'name of the container (default: one is made up)' },
    entrypoint: { type: 'string', value: 'PATH', help: "replace the image's entrypoint" },
    env: { type: 'string', short: 'e', multiple: true, value: 'NAME=VALUE', help: 'set a variable' },
    user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: 'user the command runs as' },
    workdir: { type: 'string', short: 'w', value: 'DIR', help: 'directory the command starts in' },
    hostname: { type: 'string', value: 'NAME', help: 'host name (default: the first 12 digits of the id)' },
    durable: { type: 'boolean', help: 'print the id when the container is on disk' },
    label: { type: 'string', short: 'l', multiple: true, value: 'NAME=VALUE', help: 'set a label' },
  },
  operandsEndOptions: true,
  operands: { min: 1, max: Infinity },
  async run(context, values, [image = '', ...words]) {
    await using store = await context.open();
    const container = await store.create(image, {
      name: values.name,
      entrypoint: values.entrypoint === undefined ? undefined : [values.entrypoint].filter(Boolean),
      command: words.length > 0 ? words : undefined,
      env: values.env?.map(withValue),
      user: values.user,
      workingDir: values.workdir,
      hostname: values.hostname,
      durable: values.durable,
      labels: values.label && Object.fromEntries(values.label.map(pair)),
      signal: context.signal,
    });
    context.print(container.id);
  },
});

/** `NAME` alone takes the value of this process, as in docker. */
function withValue(entry: string): string {
  return entry.includes('=') ? entry : `${entry}=${process.env[entry] ?? ''}`;
}

function pair(entry: string): [string, string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}
