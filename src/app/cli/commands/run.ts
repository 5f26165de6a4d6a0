/** `layerstack run`: runs a command in a new container, or in an archive in place. */
import { unsupportedText } from '../../../container/spec/unsupported.ts';
import type { StartedRun } from '../../../container/run/options.ts';
import type { RunStreams } from '../../../container/run/streams.ts';
import { archiveChoice, ARCHIVE_OPTIONS } from '../archive-choice.ts';
import { defineCommand, UsageError, type Context } from '../command.ts';
import { containerOf, CONTAINER_OPTIONS } from '../container-options.ts';
import { HOST_OPTIONS } from '../host-options.ts';
import { missingImage, PULL_POLICIES } from '../missing-image.ts';
import { forwardSignals } from '../run-signals.ts';
import { RUN_STATUSES } from '../run-statuses.ts';

/** Matches the beginning of an archive's path. The name of an image does not match. */
const ARCHIVE_PATH = /^[./]/;

export const command = defineCommand({
  usage: '[OPTIONS] IMAGE|./ARCHIVE [COMMAND] [ARG...]',
  description:
    'Make a container and run COMMAND in it, with runc or another OCI runtime. The exit status is that of COMMAND. Signals\n' +
    "go to COMMAND. The options are those of docker's `run`. A missing image is pulled, as by docker. An argument that begins\n" +
    'with a dot or a slash is the path of an archive. It is mounted in place, and nothing of it remains.\n' +
    '\n' +
    'Layerstack does not set up networks: without `--network host` a container has only the device lo. It does not restart\n' +
    'commands (use systemd), or keep their output (redirect it). `runc list` shows the containers that run, and\n' +
    '`runc exec ID COMMAND` starts another command in one.',
  options: {
    rm: { type: 'boolean', help: 'remove the container when COMMAND has ended' },
    interactive: { type: 'boolean', short: 'i', help: 'pass standard input to COMMAND' },
    detach: {
      type: 'boolean',
      short: 'd',
      help: "run COMMAND in the background, without input and output, and print the container's id",
    },
    pull: {
      type: 'string',
      value: PULL_POLICIES.join('|'),
      help: 'when to pull the image (default: missing)',
    },
    quiet: { type: 'boolean', short: 'q', help: 'do not show the progress of a pull' },
    ...CONTAINER_OPTIONS,
    ...HOST_OPTIONS,
    runtime: {
      type: 'string',
      value: 'NAME|PATH',
      kind: 'none',
      help: 'runtime to use (default: runc, else crun)',
    },
    ...ARCHIVE_OPTIONS,
  },
  operandsEndOptions: true,
  operands: { min: 1, max: Infinity, kinds: ['image', 'none'] },
  statuses: RUN_STATUSES,
  examples: [
    { command: 'layerstack run --rm alpine echo hello', does: 'runs one command, and leaves no container' },
    { command: 'layerstack run --rm -it alpine', does: 'starts a shell on this terminal' },
    {
      command: 'layerstack run -v .:/src -w /src --network host node:22 npm test',
      does: 'runs the tests of a project',
    },
    { command: 'layerstack run ./app.tar', does: 'runs the command of an archive, without loading it' },
  ],
  async run(context, values, [image = '', ...words]) {
    const isArchive = ARCHIVE_PATH.test(image);
    refuseOthers(values, isArchive);
    const { runtime, interactive, detach, rm: remove, name, pull, quiet, platform } = values;
    const wanted = await containerOf({ ...values, runtime: undefined }, words);
    const pulling = missingImage(context, { pull, quiet, platform });
    await using store = await context.open();
    await using signals = forwardSignals(context.signal);
    const process = {
      ...{ ...wanted, runtime, interactive, signal: signals.preparing },
      streams: wanted.tty === true || detach ? undefined : streamsOf(context, interactive),
      onStart(started: StartedRun): void {
        signals.forwardTo(started);
        warnOfVolumes(context, started);
      },
    };
    if (isArchive) {
      const onNotice = (line: string): void => context.stderr.print(line);
      const { status = 0 } = await store.archives.run(image, {
        ...process,
        ...archiveChoice(values),
        onNotice,
      });
      context.exitWith(status);
      return;
    }
    await pulling(store, image, signals.preparing);
    const { id, status = 0 } = await store.containers.run(image, {
      ...{ ...process, name, remove, detach },
      onUnsupported: (key) => context.stderr.print(`layerstack: warning: ${unsupportedText(key)}`),
    });
    if (detach) context.print(id);
    context.exitWith(status);
  },
});

function streamsOf(context: Context, interactive = false): RunStreams {
  // Node starts to read its input when the stream is first used.
  return { ...context.programOutputs, ...(interactive && { stdin: context.stdin }) };
}

/** @throws UsageError where an option for containers is given for an archive, or the other way round. */
function refuseOthers(values: Readonly<Record<string, unknown>>, isArchive: boolean): void {
  const others = isArchive ? ['name', 'detach', 'label', 'pull'] : ['image', 'no-verify'];
  const wrong = others.find((option) => values[option] !== undefined);
  if (wrong === undefined) return;
  throw new UsageError(
    isArchive
      ? `--${wrong} cannot be used with an archive, which does not leave a container: load the archive, and run its image`
      : `--${wrong} is for archives: give the path of one, with a dot or a slash at its beginning (./app.tar)`,
  );
}

function warnOfVolumes({ stderr }: Context, { leftOut }: StartedRun): void {
  for (const path of leftOut)
    stderr.print(`layerstack: warning: nothing is mounted for the image's volume ${path}`);
}
