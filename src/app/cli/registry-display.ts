/**
 * Shows a pull or a push in docker's words (pull-words.ts, push-words.ts). Head, digest and status go to
 * stdout. Stderr gets a line whenever a layer enters another phase. A terminal gets a bar for each layer
 * instead, and one for all. With JSON each event is a line on stdout.
 */
import type { ProgressEvent } from '../../core/progress.ts';
import type { Context } from './command.ts';
import { LayerBars, type LayerLine } from './layer-bars.ts';

export interface RegistryDisplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export type LayerProgress = Extract<ProgressEvent, { type: `layer-${string}` }>;

/** The messages for events. */
export interface Words {
  /** Returns a line for stdout; undefined for an event without one. */
  say(event: Exclude<ProgressEvent, LayerProgress>): string | undefined;
  /** Returns the name of a layer: the digest in its progress events. */
  name(event: LayerProgress): string;
  /** Returns the line of a layer after an event; undefined for an event that this operation does not have. */
  line(event: LayerProgress): LayerLine | undefined;
  /** Phases that get a bar, but no line in a log. */
  readonly fleeting: readonly string[];
}

/** The least time between two JSON lines about the progress of one layer. */
const JSON_PAUSE_MS = 100;

export class RegistryDisplay {
  readonly #context: Pick<Context, 'print' | 'stderr'>;
  readonly #options: RegistryDisplayOptions;
  readonly #words: Words;
  readonly #bars: LayerBars | undefined;
  /** The phase that was printed last, for each layer. */
  readonly #said = new Map<string, string>();
  readonly #written = new Map<string, number>();

  constructor(
    context: Pick<Context, 'print' | 'stderr'>,
    words: Words,
    { json, quiet }: RegistryDisplayOptions,
  ) {
    this.#context = context;
    this.#words = words;
    this.#options = { json, quiet };
    if (context.stderr.canRedraw && !json && !quiet) this.#bars = new LayerBars(context.stderr);
  }

  /** Shows an event. Bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    if (this.#options.json) this.#json(event);
    else if (isLayer(event)) this.#layer(event);
    else if (event.type === 'progress') this.#bars?.sum(event.current, event.total);
    else this.#say(event);
  };

  /** Ends the display: no more events come. */
  end(): void {
    this.#bars?.finish();
  }

  #json(event: ProgressEvent): void {
    if (event.type === 'layer-progress' || event.type === 'progress') {
      const key = isLayer(event) ? `${this.#words.name(event)} ${String(event.phase)}` : '';
      const now = Date.now();
      if (now - (this.#written.get(key) ?? 0) < JSON_PAUSE_MS) return;
      this.#written.set(key, now);
    }
    this.#context.print(JSON.stringify(event));
  }

  #say(event: Exclude<ProgressEvent, LayerProgress>): void {
    if (event.type === 'notice' || event.type === 'waiting') this.#remark(event.message);
    if (event.type === 'warning') this.#remark(`warning: ${event.message}`);
    const text = this.#words.say(event);
    if (text === undefined) return;
    this.end();
    this.#said.clear();
    if (!this.#options.quiet) this.#context.print(text);
  }

  #layer(event: LayerProgress): void {
    if (this.#options.quiet) return;
    const line = this.#words.line(event);
    if (line === undefined) return;
    const id = this.#words.name(event).replace('sha256:', '').slice(0, 12);
    if (this.#bars) {
      this.#bars.set(id, line);
      return;
    }
    const isSaid = this.#said.get(id) === line.phase && event.type !== 'layer-retry';
    this.#said.set(id, line.phase);
    if (!isSaid && !this.#words.fleeting.includes(line.phase))
      this.#context.stderr.print(`${id}: ${line.phase}`);
  }

  #remark(message: string): void {
    this.#bars?.clear();
    this.#context.stderr.print(`layerstack: ${message}`);
  }
}

function isLayer(event: ProgressEvent): event is LayerProgress {
  return event.type.startsWith('layer-');
}

/** Returns the line of a layer that waits for its next attempt. */
export function retryLine(event: Extract<LayerProgress, { type: 'layer-retry' }>): LayerLine {
  const { current, total = 0, delayMs, message } = event;
  const phase = `Retrying in ${(delayMs / 1000).toFixed(1)} seconds: ${message}`;
  return { phase, current, total, rank: 1 };
}
