/** `layerstack cp`: copies files between a container or an archive and the host, as `docker cp`. */
import type { CopyOptions } from '../../../container/copy.ts';
import type { ArchiveChoice } from '../../../packed/operation.ts';
import type { Layerstack } from '../../layerstack.ts';
import { archiveChoice, ARCHIVE_OPTIONS, refuseArchiveOptions } from '../archive-choice.ts';
import { defineCommand, UsageError, type Context } from '../command.ts';
import { parseCopyOperand, type CopyOperand } from '../copy-operand.ts';
import { parseBytes } from '../format.ts';
import { ProgressDisplay } from '../progress.ts';

/**
 * Imported late, because it loads the addon. Outside `run`, because tsc does not rename the file of an import
 * beside `await using`.
 */
const archiveOutput = () => import('../archive-output.ts');

export const command = defineCommand({
  usage:
    '[OPTIONS] CONTAINER:PATH|ARCHIVE:/PATH DEST|-\n       layerstack cp [OPTIONS] SRC|- CONTAINER:PATH|ARCHIVE:/PATH',
  description:
    'Copy a file or directory out of a container, or into it. The container may be mounted. `-` is a tar on stdout or\n' +
    'stdin. A source that ends in /. means the content of the directory. A host path with a colon must begin with / or\n' +
    'a dot. ./app.tar:/PATH is a path in the root file system of an archive: text with a slash or a dot, then a colon, then\n' +
    'an absolute path. To copy something into an archive, mount it first.',
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
    ...ARCHIVE_OPTIONS,
  },
  operands: { min: 2, max: 2, kinds: ['container-path'] },
  examples: [
    { command: 'layerstack cp build:/etc/passwd .', does: 'copies a file out' },
    { command: 'tar -c src | layerstack cp - build:/usr', does: 'copies a tar in' },
    { command: 'layerstack cp ./app.tar:/etc/os-release .', does: 'copies a file out of an archive' },
  ],
  async run(context, values, [from = '', to = '']) {
    const [source, destination] = [parseCopyOperand(from), parseCopyOperand(to)];
    const [inside, ...others] = [source, destination].filter(({ owner }) => owner !== 'host');
    if (inside === undefined)
      throw new UsageError(
        'neither operand names a container or an archive: write one of them as CONTAINER:PATH or ./ARCHIVE:/PATH',
      );
    if (others.length > 0)
      throw new UsageError(
        'copying between containers is not supported: pipe `cp A:PATH -` into `cp - B:PATH`',
      );
    if (inside.owner === 'container') refuseArchiveOptions(values);
    const maxBytes = values['max-bytes'];
    const options = {
      followLink: values['follow-link'],
      signal: context.signal,
      onProgress: new ProgressDisplay(context.stderr, { quiet: true, doing: 'copying' }).show,
      archive: values.archive,
      maxBytes: maxBytes === undefined ? undefined : parseBytes('--max-bytes', maxBytes),
    };
    const choice = inside.owner === 'archive' ? archiveChoice(values) : {};
    if (inside === source) return copyOut(context, source, destination.path, { ...options, ...choice });
    const input = source.path === '-' ? stdinOf(context) : source.path;
    const { image, platform } = choice;
    await using store = await context.open();
    if (inside.owner === 'archive')
      await store.archives.copyIn(inside.name, input, inside.path, { ...options, image, platform });
    else await store.containers.copyIn(inside.name, input, inside.path, options);
  },
});

/** Copies to a path of the host, or writes a tar to stdout. */
async function copyOut(
  context: Context,
  { owner, name, path }: CopyOperand,
  destination: string,
  options: CopyOptions & ArchiveChoice,
): Promise<void> {
  if (destination === '-' && context.stdoutIsTerminal)
    throw new UsageError('stdout is a terminal: redirect it to a file or a pipe');
  await using store = await context.open();
  const rootfs: Pick<Layerstack['archives'], 'copyOut' | 'getArchive'> =
    owner === 'archive' ? store.archives : store.containers;
  if (destination !== '-') return await rootfs.copyOut(name, path, destination, options);
  const { archive: _archive, maxBytes: _maxBytes, ...reading } = options;
  const { tar } = await rootfs.getArchive(name, path, reading);
  const { writeArchive } = await archiveOutput();
  return await writeArchive(store, tar, undefined, context.signal);
}

function stdinOf(context: Context): NodeJS.ReadStream {
  if (context.stdin.isTTY) throw new UsageError('stdin is a terminal: pipe a tar in');
  return context.stdin;
}
