/** Makes scripts that complete commands in a shell, from the declarations of the verbs. */
import type { Declaration } from './command.ts';
import { bashCompletion } from './completion-bash.ts';
import { fishCompletion } from './completion-fish.ts';
import { zshCompletion } from './completion-zsh.ts';

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export function completionScript(shell: keyof typeof SCRIPTS, declarations: readonly Declaration[]): string {
  return SCRIPTS[shell](declarations);
}
