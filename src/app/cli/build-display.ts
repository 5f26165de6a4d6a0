/**
 * Shows a build as docker's classic builder does: steps and the output of commands on stdout, byte for byte,
 * and pulls in the words of `docker pull`.
 */
import type { BuildEvent } from '../../build/options.ts';
import { LayerstackError } from '../../core/errors.ts';
import type { Context } from './command.ts';
import { PULL_WORDS } from './pull-words.ts';
import { RegistryDisplay } from './registry-display.ts';

export class BuildDisplay {
  readonly #context: Pick<Context, 'programOutputs' | 'stderr'>;
  readonly #quiet: boolean;
  readonly #pulls: RegistryDisplay;

  constructor(context: Pick<Context, 'print' | 'programOutputs' | 'stderr'>, quiet: boolean) {
    this.#context = context;
    this.#quiet = quiet;
    this.#pulls = new RegistryDisplay(context, PULL_WORDS, { json: false, quiet });
  }

  /** Shows an event. Bound, so that it can be passed as `onProgress`. */
  readonly show = (event: BuildEvent): void => {
    if (event.type === 'built') return;
    if (event.type !== 'stream') {
      this.#pulls.show(event);
      return;
    }
    this.#pulls.end();
    if (!this.#quiet) this.#context.programOutputs.stdout.write(event.text);
  };

  /**
   * Prints the lines that explain an error, such as the instruction with a caret, and returns an error with
   * the first line alone.
   */
  explain(error: unknown): unknown {
    this.#pulls.end();
    if (!LayerstackError.is(error)) return error;
    const [first = '', ...excerpt] = error.message.split('\n');
    this.#context.stderr.print(...excerpt);
    return excerpt.length === 0 ? error : LayerstackError.within(error, first);
  }
}
