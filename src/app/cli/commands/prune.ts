/** `layerstack prune`: prints the lines of `docker image prune`. */
import { defineCommand } from '../command.ts';
import { parseFilters } from '../filters.ts';
import { formatBytes } from '../format.ts';
import { deletedLines, parseFormat } from '../output.ts';
import { confirm } from '../prompt.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Remove the images without a tag, and every layer that neither an image nor a container needs, such as the layers of a\n' +
    'load that was killed. The command asks first, unless --force is given.',
  options: {
    all: { type: 'boolean', short: 'a', help: 'remove all images that no container uses' },
    filter: {
      type: 'string',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'remove only images that match: until, label, label!',
    },
    force: { type: 'boolean', short: 'f', help: 'do not ask' },
    'dry-run': { type: 'boolean', short: 'n', help: 'remove nothing, show what would be removed' },
    format: { type: 'string', value: 'json', help: 'one JSON document' },
  },
  operands: { min: 0, max: 0 },
  examples: [
    { command: 'layerstack prune -n', does: 'shows what would be removed' },
    {
      command: 'layerstack prune -af --filter until=240h',
      does: 'removes unused images that are older than ten days',
    },
  ],
  async run(context, values) {
    const format = parseFormat(values.format);
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

/** Returns docker's question. */
function question(all: boolean): string {
  const which = all ? 'all images without at least one container associated to them' : 'all dangling images';
  return `WARNING! This will remove ${which}.\nAre you sure you want to continue? [y/N] `;
}
