/** `layerstack cp`: copies files between a container and the host, as `docker cp`. */
import { defineCommand, UsageError, type Context } from '../command.ts';
import { parseBytes } from '../format.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER:PATH DEST|-\n       layerstack cp [OPTIONS] SRC|- CONTAINER:PATH',
  description:
    'Copy a file or directory out of a container, or into it. The container may be mounted. `-` is a tar on stdout or\n' +
    'stdin. A source that ends in /. means the content of the directory. A host path with a colon must begin with / or\n' +
    'a dot.',
  options: {
    archive: {
      type: 'boolean',
      short: 'a',
      help: "out: keep the owners of files; in: give all files to the container's user",
    },
    'follow-link': {
      type: 'boolean',
      short: 'L',
      help: 'follow a symlink at the end of the source path',
    },
    'max-bytes': {
      type: 'string',
      value: 'SIZE',
      help: 'refuse a tar from stdin with more uncompressed bytes than this, e.g. 10G',
    },
  },
  operands: { min: 2, max: 2, kinds: ['container-path'] },
  examples: [
    { command: 'layerstack cp build:/etc/passwd .', does: 'copies a file out' },
    { command: 'tar -c src | layerstack cp - build:/usr', does: 'copies a tar in' },
  ],
  async run(context, values, [from = '', to = '']) {
    const [source, destination] = [parseOperand(from), parseOperand(to)];
    if (source.container !== undefined && destination.container !== undefined)
      throw new UsageError(
        'copying between containers is not supported: pipe `cp A:PATH -` into `cp - B:PATH`',
      );
    const reading = {
      followLink: values['follow-link'],
      signal: context.signal,
      onProgress: new ProgressDisplay(context.stderr, { quiet: true, doing: 'copying' }).show,
    };
    const options = {
      ...reading,
      archive: values.archive,
      maxBytes:
        values['max-bytes'] === undefined ? undefined : parseBytes('--max-bytes', values['max-bytes']),
    };
    if (source.container !== undefined) {
      if (destination.path === '-' && context.stdoutIsTerminal)
        throw new UsageError('stdout is a terminal: redirect it to a file or a pipe');
      await using store = await context.open();
      if (destination.path !== '-')
        return await store.containers.copyOut(source.container, source.path, destination.path, options);
      const { tar } = await store.containers.getArchive(source.container, source.path, reading);
      const { writeArchive } = await archiveOutput();
      return await writeArchive(store, tar, undefined, context.signal);
    }
    if (destination.container === undefined)
      throw new UsageError('neither operand names a container: write one of them as CONTAINER:PATH');
    const input = source.path === '-' ? stdinOf(context) : source.path;
    await using store = await context.open();
    await store.containers.copyIn(destination.container, input, destination.path, options);
  },
});

interface Operand {
  readonly container?: string;
  readonly path: string;
}

/** Parses an operand by docker's rule: a path of the host begins with `/` or `.`, even if it has colons. */
function parseOperand(text: string): Operand {
  if (text === '') throw new UsageError('an operand is empty');
  const colon = text.indexOf(':');
  if (colon < 0 || text.startsWith('/') || text.startsWith('.')) return { path: text };
  if (colon === 0) throw new UsageError(`${JSON.stringify(text)} lacks a container name before the colon`);
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}

function stdinOf(context: Context): NodeJS.ReadStream {
  if (context.stdin.isTTY) throw new UsageError('stdin is a terminal: pipe a tar in');
  return context.stdin;
}
