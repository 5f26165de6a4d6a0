/**
 * What a pull says, in docker's words: head, digest and status on stdout; on stderr a line whenever a layer enters another
 * phase or, on a terminal, a bar for each. With JSON each event is a line on stdout.
 */
import type { ProgressEvent } from '../../core/progress.ts';
import type { Context } from './command.ts';
import { LayerBars, type LayerLine } from './layer-bars.ts';

export interface PullDisplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** Events of one layer's progress in JSON. */
const JSON_PAUSE_MS = 100;

type LayerProgress = Exclude<
  Extract<ProgressEvent, { type: `layer-${string}` }>,
  { type: 'layer-preparing' | 'layer-mounted' }
>;

export class PullDisplay {
  readonly #context: Pick<Context, 'print' | 'stderr'>;
  readonly #options: PullDisplayOptions;
  readonly #bars: LayerBars | undefined;
  /** What was said last of each layer. */
  readonly #said = new Map<string, string>();
  readonly #written = new Map<string, number>();

  constructor(context: Pick<Context, 'print' | 'stderr'>, options: PullDisplayOptions) {
    this.#context = context;
    this.#options = options;
    if (context.stderr.isTTY && !options.json && !options.quiet) this.#bars = new LayerBars(context.stderr);
  }

  /** Takes an event; bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    if (this.#options.json) this.#json(event);
    else this.#say(event);
  };

  /** Nothing more will come. */
  end(): void {
    this.#bars?.finish();
  }

  #json(event: ProgressEvent): void {
    if (event.type === 'layer-progress') {
      const key = `${String(event.member)} ${String(event.phase)}`;
      const now = Date.now();
      if (now - (this.#written.get(key) ?? 0) < JSON_PAUSE_MS) return;
      this.#written.set(key, now);
    }
    this.#context.print(JSON.stringify(event));
  }

  #say(event: ProgressEvent): void {
    switch (event.type) {
      case 'pulling':
        this.#said.clear();
        if (!this.#options.quiet) this.#context.print(`${event.id}: Pulling from ${event.repository}`);
        break;
      case 'pulled':
        this.end();
        if (!this.#options.quiet) this.#context.print(`Digest: ${event.digest}`);
        break;
      case 'notice':
      case 'waiting':
        this.#remark(event.message);
        break;
      case 'warning':
        this.#remark(`warning: ${event.message}`);
        break;
      case 'layer-waiting':
      case 'layer-start':
      case 'layer-progress':
      case 'layer-retry':
      case 'layer-done':
      case 'layer-exists':
        this.#layer(event);
        break;
      case 'image':
      case 'moved':
        break;
    }
  }

  #layer(event: LayerProgress): void {
    if (this.#options.quiet) return;
    const id = (event.blob ?? event.member ?? '').replace('sha256:', '').slice(0, 12);
    const line = lineOf(event);
    if (this.#bars) {
      this.#bars.set(id, line);
      return;
    }
    const lasting = event.type === 'layer-retry' || this.#said.get(id) !== line.phase;
    this.#said.set(id, line.phase);
    if (lasting) this.#context.stderr.write(`${id}: ${line.phase}\n`);
  }

  #remark(message: string): void {
    this.#bars?.clear();
    this.#context.stderr.write(`layerstack: ${message}\n`);
  }
}

const PHASES = { verifying: 'Verifying', downloading: 'Downloading', extracting: 'Extracting' } as const;

function lineOf(event: LayerProgress): LayerLine {
  const { current, total = 0 } = event;
  const line = (phase: string, rank: LayerLine['rank']): LayerLine => ({ phase, current, total, rank });
  switch (event.type) {
    case 'layer-waiting':
      return line('Pulling fs layer', 1);
    case 'layer-exists':
      return line('Already exists', 2);
    case 'layer-done':
      return line('Pull complete', 2);
    case 'layer-retry':
      return line(`Retrying in ${(event.delayMs / 1000).toFixed(1)} seconds: ${event.message}`, 1);
    case 'layer-start':
      return line('Downloading', 0);
    case 'layer-progress':
      return line(PHASES[event.phase ?? 'downloading'], 0);
  }
}
