/** Formats the command and the state of a container as `docker ps` does. The state also shows a mount. */
import type { Container } from '../container/record.ts';
import { formatAge } from './cli/format.ts';

/** Returns path and arguments; an argument with a space is in quotes. */
export function commandText({ command: [path = '', ...args] }: Container): string {
  return [path, ...args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg))].join(' ');
}

/** Returns e.g. `Exited (0) 3 weeks ago`, `Created (mounted)`. */
export function statusText({ state, exitCode, finished }: Container, mounted: boolean): string {
  const label = `${state.charAt(0).toUpperCase()}${state.slice(1)}`;
  const text =
    state === 'exited' && finished !== undefined
      ? `Exited (${exitCode}) ${formatAge(Date.parse(finished))}`
      : label;
  return mounted ? `${text} (mounted)` : text;
}
