/** `layerstack tags`: prints a line for each tag of a repository in its registry, as `crane ls`. */
import { defineCommand } from '../command.ts';
import { parseFormat, quoteName } from '../output.ts';

export const command = defineCommand({
  usage: '[OPTIONS] REPOSITORY',
  description: 'List the tags that a repository has in its registry, in the order of the registry.',
  options: { format: { type: 'string', value: 'json', help: 'one JSON document a line' } },
  operands: { min: 1, max: 1 },
  examples: [
    { command: 'layerstack tags registry.example/team/app', does: 'lists the tags of a repository' },
  ],
  async run(context, values, [repository = '']) {
    const format = parseFormat(values.format);
    const registry = await context.registry();
    for await (const tag of registry.tags(repository, { signal: context.signal }))
      context.print(
        format === 'json' ? JSON.stringify({ Repository: repository, Tag: tag }) : quoteName(tag),
      );
  },
});
