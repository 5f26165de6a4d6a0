/** Collects the declarations of the verbs, for completion and manual pages. */
import type { Declaration } from './command.ts';
import { ALIASES, VERBS } from './commands/index.ts';

/** Returns the declarations in the order of the help. */
export async function allDeclarations(): Promise<Declaration[]> {
  return Promise.all(
    Object.entries(VERBS).map(async ([verb, { summary, load }]) => ({
      verb,
      aliases: Object.keys(ALIASES).filter((alias) => ALIASES[alias] === verb),
      summary,
      command: (await load()).command,
    })),
  );
}
