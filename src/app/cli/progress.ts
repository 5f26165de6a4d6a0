/**
 * Progress of a load or save on stderr: on a terminal one line that is redrawn, elsewhere only what is worth keeping in a
 * log (notices and warnings).
 */
import type { ProgressEvent } from '../../core/progress.ts';
import { formatBytes } from './format.ts';
import type { Output } from './terminal.ts';

const REDRAW_MS = 100;

interface LayerState {
  current: number;
  total: number | undefined;
  done: boolean;
}

export class ProgressDisplay {
  readonly #output: Output;
  readonly #live: boolean;
  readonly #quiet: boolean;
  readonly #doing: string;
  readonly #layers = new Map<string, LayerState>();
  #drawn = 0;
  #visible = false;

  /** `quiet`: no progress; notices and warnings still appear. `doing`: what the line begins with. */
  constructor(output: Output, quiet: boolean, doing = 'loading') {
    this.#output = output;
    this.#quiet = quiet;
    this.#doing = doing;
    this.#live = output.isTerminal && !quiet;
  }

  /** Takes an event; bound, so that it can be passed as `onProgress`. */
  readonly show = (event: ProgressEvent): void => {
    switch (event.type) {
      case 'layer-start':
      case 'layer-progress':
      case 'layer-done':
      case 'layer-exists':
        this.#layers.set(event.diffId ?? event.member ?? '', {
          current: event.current,
          total: event.total,
          done: event.type === 'layer-done' || event.type === 'layer-exists',
        });
        this.#draw();
        break;
      case 'notice':
        this.#remark(event.message);
        break;
      case 'warning':
        this.#remark(`warning: ${event.message}`);
        break;
      case 'moved':
        if (!this.#quiet)
          this.#remark(`${event.reference} moved here from ${event.previous}, which has lost this name`);
        break;
      case 'image':
      case 'pulling':
      case 'waiting':
      case 'pulled':
      case 'pushing':
      case 'pushed':
      case 'layer-preparing':
      case 'layer-mounted':
      case 'layer-waiting':
      case 'layer-retry':
        break;
    }
  };

  /** Takes the line away; to be called before anything else is printed. */
  clear(): void {
    if (this.#visible) this.#output.redrawLine('');
    this.#visible = false;
  }

  #remark(message: string): void {
    this.clear();
    this.#output.print(`layerstack: ${message}`);
  }

  #draw(): void {
    const now = Date.now();
    if (!this.#live || now - this.#drawn < REDRAW_MS) return;
    this.#drawn = now;
    this.#visible = true;
    const layers = [...this.#layers.values()];
    const done = layers.filter((layer) => layer.done).length;
    const bytes = layers.reduce((sum, layer) => sum + layer.current, 0);
    this.#output.redrawLine(`${this.#doing}: ${done} of ${layers.length} layers, ${formatBytes(bytes)}`);
  }
}
