/** `layerstack prune`: prints the lines of `docker image prune`; with `--orphans` a table of directories. */
import type { Orphan } from '../../../rwlayer/orphans.ts';
import { defineCommand, UsageError, type Context } from '../command.ts';
import { parseFilters } from '../filters.ts';
import { formatAge, formatBytes } from '../format.ts';
import { deletedLines, parseFormat, quoteName } from '../output.ts';
import { confirm } from '../prompt.ts';
import { alignTabs } from '../tabwriter.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Remove the images without a tag, and every layer that neither an image nor a container needs, such as the layers of a\n' +
    'load that was killed. The command asks first, unless --force is given.\n\n' +
    'With --orphans, list the directories of overlay2 that nothing in the store explains, with the reason, and remove those\n' +
    "that cannot hold anybody's work, without asking. Directories that were mounted as a writable layer, or that no known\n" +
    'program has made, are removed only with --force. Directories of BuildKit, mounted ones, and those below a directory that\n' +
    'stays are never removed. With -n this works beside a running dockerd.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'remove all images that no container uses' },
    filter: {
      type: 'string',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'remove only images that match: until, label, label!',
    },
    force: {
      type: 'boolean',
      short: 'f',
      help: "do not ask; with --orphans: remove directories that may hold somebody's work, too",
    },
    orphans: { type: 'boolean', help: 'remove directories of overlay2 that nothing explains, not images' },
    'dry-run': { type: 'boolean', short: 'n', help: 'remove nothing, show what would be removed' },
    format: { type: 'string', value: 'json', help: 'one JSON document' },
  },
  operands: { min: 0, max: 0 },
  examples: [
    { command: 'layerstack prune -n', does: 'shows what would be removed' },
    {
      command: 'layerstack prune --orphans -n',
      does: 'shows the directories that nothing explains, and why',
    },
    {
      command: 'layerstack prune -af --filter until=240h',
      does: 'removes unused images that are older than ten days',
    },
  ],
  async run(context, values) {
    const format = parseFormat(values.format);
    if (values.orphans === true) {
      if (values.all === true || values.filter !== undefined)
        throw new UsageError('--orphans removes directories, not images: leave --all and --filter out');
      await pruneOrphans(context, {
        dryRun: values['dry-run'] === true,
        force: values.force === true,
        isJson: format === 'json',
      });
      return;
    }
    const { label, notLabel, until } = parseFilters(values.filter ?? [], ['until', 'label', 'label!']);
    const dryRun = values['dry-run'] === true;
    if (!dryRun && values.force !== true && !(await confirm(context, question(values.all === true)))) return;
    await using store = await context.open();
    const result = await store.images.prune({ all: values.all, filters: { label, notLabel, until }, dryRun });
    if (format === 'json') {
      context.print(JSON.stringify(result));
      return;
    }
    const lines = deletedLines(result.ImagesDeleted).map(
      (line) => line.charAt(0).toLowerCase() + line.slice(1),
    );
    if (lines.length > 0) context.print(dryRun ? 'Would delete:' : 'Deleted Images:', ...lines, '');
    const freed = formatBytes(result.SpaceReclaimed, 4);
    context.print(`${dryRun ? 'Total that would be reclaimed' : 'Total reclaimed space'}: ${freed}`);
  },
});

interface OrphanRun {
  readonly dryRun: boolean;
  readonly force: boolean;
  readonly isJson: boolean;
}

async function pruneOrphans(context: Context, { dryRun, force, isJson }: OrphanRun): Promise<void> {
  await using store = await context.open({ readOnly: dryRun });
  const orphans = await store.pruneOrphans({ dryRun, force, signal: context.signal });
  if (isJson) {
    context.print(...orphans.map((orphan) => JSON.stringify(orphan)));
    return;
  }
  const isChosen = ({ state }: Orphan): boolean => state === 'removable' || (force && state === 'forced');
  const verdict = (orphan: Orphan): string => {
    if (orphan.removed) return 'removed';
    return dryRun && isChosen(orphan) ? 'would be removed' : 'stays';
  };
  const rows = orphans.map((orphan) =>
    [
      quoteName(orphan.id),
      formatBytes(orphan.size, 4),
      formatAge(orphan.created),
      orphan.lastMounted === null ? 'never' : formatAge(orphan.lastMounted),
      verdict(orphan),
      quoteName(orphan.reason + (orphan.state === 'forced' && !force ? ' (--force removes it)' : '')),
    ].join('\t'),
  );
  const header = ['DIRECTORY', 'SIZE', 'CREATED', 'LAST MOUNT', 'RESULT', 'WHY'].join('\t');
  if (rows.length > 0) context.print(...alignTabs([header, ...rows].join('\n')).split('\n'), '');
  const freed = orphans.filter((orphan) => orphan.removed || (dryRun && isChosen(orphan)));
  const bytes = formatBytes(
    freed.reduce((sum, { size }) => sum + size, 0),
    4,
  );
  context.print(`${dryRun ? 'Total that would be reclaimed' : 'Total reclaimed space'}: ${bytes}`);
}

/** Returns docker's question. */
function question(all: boolean): string {
  const which = all ? 'all images without at least one container associated to them' : 'all dangling images';
  return `WARNING! This will remove ${which}.\nAre you sure you want to continue? [y/N] `;
}
