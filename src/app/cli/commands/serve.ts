/** `layerstack serve`: answers the Docker Engine API on sockets until a signal comes. Prints log lines. */
import { LOG_LEVELS } from '../../service/logs.ts';
import { DEFAULT_SETTINGS } from '../../service/settings.ts';
import { defineCommand, UsageError } from '../command.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    "Answer docker's clients (docker -H unix://PATH, dockerode, skopeo, …) for images and the file systems of containers,\n" +
    'until SIGTERM or SIGINT. Then the service completes unfinished work and ends with status 0; a second signal ends it\n' +
    'at once. SIGHUP reads the settings again and reopens the log file. Log lines go to stdout. A client that can connect\n' +
    'can do what root can.',
  options: {
    host: {
      type: 'string',
      short: 'H',
      multiple: true,
      value: 'HOST',
      help: 'unix://PATH (default /run/layerstack.sock), tcp://127.0.0.1:PORT or fd:// (from systemd); repeat it for more',
    },
    group: { type: 'string', short: 'G', value: 'GROUP', help: 'group that may connect besides root' },
    'shutdown-timeout': {
      type: 'string',
      value: 'SECONDS',
      help: `how long unfinished work may still take after a signal (default ${DEFAULT_SETTINGS.shutdownTimeoutSeconds})`,
    },
    'max-connections': {
      type: 'string',
      value: 'N',
      help: `connections of each socket; beyond it the longest idle ones are closed (default ${DEFAULT_SETTINGS.maxConnections})`,
    },
    'no-durable-create': {
      type: 'boolean',
      help: 'answer as soon as a container is made, before it is on disk, as dockerd does',
    },
    'log-format': { type: 'string', value: 'json|text', help: 'format of log lines (default json)' },
    'log-level': {
      type: 'string',
      value: 'debug|info|warn|error',
      help: 'lowest level that is logged (default $LAYERSTACK_LOG_LEVEL or info)',
    },
    'log-file': { type: 'string', value: 'FILE', help: 'append log lines to FILE instead of printing them' },
    config: {
      type: 'string',
      value: 'FILE',
      help: 'settings that SIGHUP reads again (default /etc/layerstack/serve.json)',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [
    {
      command: 'layerstack serve -H unix:///run/layerstack.sock -G docker',
      does: 'answers on a socket that a group may use',
    },
  ],
  untilSignal: true,
  async run(context, values) {
    const options = {
      hosts: values.host ?? [],
      group: values.group,
      settings: {
        shutdownTimeoutSeconds: whole('--shutdown-timeout', values['shutdown-timeout'], 0, 86_400),
        maxConnections: whole('--max-connections', values['max-connections'], 1, 1_000_000),
        durableCreate: values['no-durable-create'] === true ? false : undefined,
        logLevel: oneOf(
          '--log-level',
          values['log-level'] ?? process.env['LAYERSTACK_LOG_LEVEL'],
          LOG_LEVELS,
        ),
      },
      logFormat: oneOf('--log-format', values['log-format'], ['json', 'text'] as const),
      logFile: values['log-file'],
      config: values.config,
    };
    const { serve } = await import('../../service/serve.ts');
    await serve({ signal: context.signal, open: (log) => context.open({ log }) }, options);
  },
});

function whole(option: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`${option} ${JSON.stringify(text)}: write a number from ${least} to ${most}`);
}

function oneOf<const T extends string>(
  option: string,
  text: string | undefined,
  known: readonly T[],
): T | undefined {
  if (text === undefined || text === '') return undefined;
  const value = known.find((each) => each === text);
  if (value !== undefined) return value;
  throw new UsageError(`${option} ${JSON.stringify(text)}: write ${known.join(', ')}`);
}
