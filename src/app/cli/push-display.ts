/**
 * What a push says, in docker's words: head and digest on stdout; on stderr a line whenever a layer has come somewhere or, on
 * a terminal, a bar for each. With JSON each event is a line on stdout.
 */
import type { ProgressEvent } from '../../core/progress.ts';
import type { Context } from './command.ts';
import { LayerBars, type LayerLine } from './layer-bars.ts';

export interface PushDisplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Events of one layer's progress in JSON. */
const JSON_PAUSE_MS = 100;

type LayerProgress = Extract<ProgressEvent, { type: `layer-${string}` }>;

export class PushDisplay {
  readonly #context: Pick<Context, 'print' | 'stderr'>;
  readonly #options: PushDisplayOptions;
  readonly #bars: LayerBars | undefined;
  readonly #written = new Map<string, number>();

  constructor(context: Pick<Context, 'print' | 'stderr'>, options: PushDisplayOptions) {
    this.#context = context;
    this.#options = options;
    if (context.stderr.isTTY && !options.json && !options.quiet) this.#bars = new LayerBars(context.stderr);
  }

  /** Takes an event; bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    if (this.#options.json) this.#json(event);
    else if (event.type.startsWith('layer-')) this.#layer(event as LayerProgress);
    else this.#say(event);
  };

  /** Nothing more will come. */
  end(): void {
    this.#bars?.finish();
  }

  #json(event: ProgressEvent): void {
    if (event.type === 'layer-progress') {
      const key = event.diffId ?? '';
      const now = Date.now();
      if (now - (this.#written.get(key) ?? 0) < JSON_PAUSE_MS) return;
      this.#written.set(key, now);
    }
    this.#context.print(JSON.stringify(event));
  }

  #say(event: ProgressEvent): void {
    const { print, stderr } = this.#context;
    const { quiet } = this.#options;
    if (event.type === 'notice' || event.type === 'warning') {
      this.#bars?.clear();
      stderr.write(`layerstack: ${event.type === 'warning' ? 'warning: ' : ''}${event.message}\n`);
    } else if (event.type === 'pushing' && !quiet) {
      print(`The push refers to repository [${event.repository}]`);
    } else if (event.type === 'pushed') {
      this.end();
      const tag = event.reference.slice(event.reference.lastIndexOf(':') + 1);
      if (!quiet) print(`${tag}: digest: ${event.digest} size: ${event.size}`);
    }
  }

  #layer(event: LayerProgress): void {
    if (this.#options.quiet) return;
    const id = (event.diffId ?? '').slice('sha256:'.length, 'sha256:'.length + 12);
    const line = lineOf(event);
    if (this.#bars) this.#bars.set(id, line);
    // As docker's log: what is under way is not worth a line.
    else if (line.phase !== 'Pushing') this.#context.stderr.write(`${id}: ${line.phase}\n`);
  }
}

function lineOf(event: LayerProgress): LayerLine {
  const { current, total = 0 } = event;
  const line = (phase: string, rank: LayerLine['rank']): LayerLine => ({ phase, current, total, rank });
  switch (event.type) {
    case 'layer-preparing':
      return line('Preparing', 1);
    case 'layer-waiting':
      return line('Waiting', 1);
    case 'layer-exists':
      return line('Layer already exists', 2);
    case 'layer-mounted':
      return line(`Mounted from ${event.from}`, 2);
    case 'layer-done':
      return line('Pushed', 2);
    case 'layer-retry':
      return line(`Retrying in ${(event.delayMs / 1000).toFixed(1)} seconds: ${event.message}`, 1);
    case 'layer-start':
    case 'layer-progress':
      return line('Pushing', 0);
  }
}
