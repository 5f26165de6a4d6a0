/** `layerstack doctor`: prints findings as a table. The command fails if one of the checks fails. */
import { LayerstackError } from '../../../core/errors.ts';
import { defineCommand } from '../command.ts';
import { formatTable, parseFormat } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Show what this machine and store can do, and their problems. The exit status is 1 where something must be\n' +
    'repaired.',
  options: { format: { type: 'string', value: 'json', help: 'one JSON document a line' } },
  operands: { min: 0, max: 0 },
  failure: 'or something must be repaired',
  examples: [{ command: 'layerstack doctor', does: 'checks the machine and the store' }],
  async run(context, values) {
    const format = parseFormat(values.format);
    const { diagnose } = await import('../../doctor.ts');
    const findings = await diagnose(context.root);
    if (format === 'json') context.print(...findings.map((finding) => JSON.stringify(finding)));
    else
      context.print(
        ...formatTable(
          ['CHECK', 'STATE', 'FOUND'],
          findings.map(({ name, state, detail, advice }) => [
            name,
            state,
            advice ? `${detail}: ${advice}` : detail,
          ]),
        ),
      );
    const failed = findings.filter(({ state }) => state === 'fail').map(({ name }) => name);
    if (failed.length > 0)
      throw new LayerstackError(
        'ERR_STORE_UNSUPPORTED',
        `problems with ${failed.join(', ')}: see the advice above`,
        {
          path: context.root,
        },
      );
  },
});
