/** Prints a finding of a check as one line. */
import type { StoreFinding } from '../../core/store-finding.ts';
import type { Context } from './command.ts';
import { quoteName, type OutputFormat } from './output.ts';

export function printFinding(
  { print }: Pick<Context, 'print'>,
  finding: StoreFinding,
  format: OutputFormat,
): void {
  const { severity, path, message, advice, repaired } = finding;
  if (format === 'json') print(JSON.stringify(finding));
  else
    print(
      `${repaired ? 'repaired' : severity}: ${quoteName(path)}: ` +
        quoteName(`${message}${advice && `; ${advice}`}`),
    );
}
