/** `layerstack completion`: prints a script that completes commands in a shell. */
import { defineCommand, UsageError } from '../command.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

export const command = defineCommand({
  usage: SHELLS.join('|'),
  description:
    'Print a script that makes a shell complete verbs, options and their values, and names of images and containers in\n' +
    'the store that the command line names. In bash and zsh: source <(layerstack completion bash). In fish:\n' +
    'layerstack completion fish | source.',
  options: {},
  operands: { min: 1, max: 1, kinds: [SHELLS] },
  examples: [
    {
      command: 'layerstack completion bash > /usr/share/bash-completion/completions/layerstack',
      does: 'installs it for all users of bash',
    },
    {
      command: 'layerstack completion zsh > /usr/local/share/zsh/site-functions/_layerstack',
      does: 'installs it for all users of zsh',
    },
    {
      command: 'layerstack completion fish > /usr/share/fish/vendor_completions.d/layerstack.fish',
      does: 'installs it for all users of fish',
    },
  ],
  async run(context, _values, [shell = '']) {
    if (!SHELLS.some((each) => each === shell))
      throw new UsageError(`${JSON.stringify(shell)} is not a supported shell: use ${SHELLS.join(', ')}`);
    const { completionScript } = await import('../completion.ts');
    const script = completionScript(shell as (typeof SHELLS)[number], await context.declarations());
    context.print(...script.trimEnd().split('\n'));
  },
});
