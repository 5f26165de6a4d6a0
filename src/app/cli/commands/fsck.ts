/**
 * `layerstack fsck`: prints findings, one a line or as JSON. The command fails if a problem was not repaired.
 */
import { LayerstackError } from '../../../core/errors.ts';
import { isWrong } from '../../../core/store-finding.ts';
import { defineCommand } from '../command.ts';
import { printFinding } from '../finding-line.ts';
import { parseFormat } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Check layers, images and containers, and print the problems. The exit status is 1 where a problem was not repaired;\n' +
    'notes do not count. Without --repair the command writes nothing, and works beside a running dockerd.',
  options: {
    deep: { type: 'boolean', help: 'read all content, and compare every layer with its digest' },
    repair: { type: 'boolean', help: 'repair what can be repaired without losing anything' },
    from: {
      type: 'string',
      multiple: true,
      value: 'FILE',
      help: 'with --repair: take damaged layers from this image archive or folder',
    },
    pull: { type: 'boolean', help: 'with --repair: take damaged layers from the registries that had them' },
    format: { type: 'string', value: 'json', help: 'one JSON document a line' },
  },
  operands: { min: 0, max: 0 },
  failure: 'or a problem was not repaired',
  examples: [
    { command: 'layerstack fsck --deep', does: 'reads all content, and changes nothing' },
    {
      command: 'layerstack fsck --deep --repair --from app.tar',
      does: 'replaces damaged layers by those of an archive',
    },
  ],
  async run(context, values) {
    const format = parseFormat(values.format);
    // Without --repair the store is open read-only. So leftovers of dead writers are reported: opening it for
    // writing would remove them.
    await using store = await context.open({ readOnly: values.repair !== true });
    let wrong = 0;
    for await (const finding of store.fsck({
      deep: values.deep,
      repair: values.repair,
      from: values.from,
      pull: values.pull,
      signal: context.signal,
    })) {
      if (isWrong(finding)) wrong++;
      printFinding(context, finding, format);
    }
    if (wrong > 0)
      throw new LayerstackError(
        'ERR_STORE_CORRUPT',
        `${wrong === 1 ? 'one problem' : `${wrong} problems`} in ${context.root}: see above`,
        { path: context.root },
      );
  },
});
