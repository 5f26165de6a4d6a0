/** The options of `create` and `run` that describe the container. Names and forms are docker's. */
import type { ContainerOverrides } from '../../container/config.ts';
import type { HostConfig } from '../../container/store.ts';
import type { OptionSpecs, Values } from './command.ts';
import { hostConfigOf, type HOST_OPTIONS } from './host-options.ts';
import { labelsOf } from './labels.ts';

export const CONTAINER_OPTIONS = {
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
  label: { type: 'string', short: 'l', multiple: true, value: 'NAME=VALUE', help: 'set a label' },
  domainname: { type: 'string', value: 'NAME', help: 'NIS domain name' },
  tty: { type: 'boolean', short: 't', help: 'give the command a terminal' },
} as const satisfies OptionSpecs;

type Given = Values<typeof CONTAINER_OPTIONS & typeof HOST_OPTIONS>;

/**
 * Returns the settings of the options.
 * @param words - the command; empty for that of the image
 * @throws UsageError naming the option whose value is invalid, or whose file cannot be read.
 */
export async function containerOf(
  given: Given,
  words: readonly string[],
): Promise<ContainerOverrides & { readonly hostConfig: HostConfig }> {
  return {
    command: words.length > 0 ? words : undefined,
    entrypoint: given.entrypoint === undefined ? undefined : [given.entrypoint].filter(Boolean),
    env: given.env?.map(withValue),
    user: given.user,
    workingDir: given.workdir,
    hostname: given.hostname,
    domainname: given.domainname,
    tty: given.tty,
    labels: labelsOf(given.label),
    hostConfig: await hostConfigOf(given),
  };
}

/** Returns the variable; `NAME` alone takes its value from the environment of this process, as in docker. */
function withValue(entry: string): string {
  return entry.includes('=') ? entry : `${entry}=${process.env[entry] ?? ''}`;
}
