/**
 * Draws a line for each layer on a terminal, with its phase and a bar, and redraws it in place. If there are
 * more layers than lines, it draws the active layers, and one line counts the others. The last line is about
 * all layers together.
 */
import { formatBytes } from './format.ts';
import { Meter } from './meter.ts';
import { progressLine } from './progress-line.ts';
import type { Output } from './terminal.ts';

export interface LayerLine {
  /** The current phase, e.g. `Downloading`. */
  readonly phase: string;
  readonly current: number;
  readonly total: number;
  /** 0: active, 1: waiting, 2: finished. Active layers are shown first. */
  readonly rank: 0 | 1 | 2;
}

const REDRAW_MS = 100;
const BAR = 30;

export class LayerBars {
  readonly #output: Output;
  readonly #lines = new Map<string, LayerLine>();
  readonly #now: () => number;
  #meter: Meter | undefined;
  #drawn = -Infinity;
  #height = 0;

  /** `now` returns milliseconds of a clock that is never set back. */
  constructor(output: Output, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }

  set(id: string, line: LayerLine): void {
    this.#lines.set(id, line);
    if (this.#isTime()) this.#draw();
  }

  /** Sets the progress of all layers together. */
  sum(current: number, total: number | undefined): void {
    this.#meter ??= new Meter(this.#now);
    this.#meter.add(current, total);
    if (this.#isTime()) this.#draw();
  }

  /** Draws the lines for the last time. The next layers begin below them. */
  finish(): void {
    this.#meter = undefined;
    if (this.#lines.size === 0) return;
    this.#draw();
    this.#lines.clear();
    this.#height = 0;
  }

  /** Removes the lines so that something can be printed in their place. They are drawn again below it. */
  clear(): void {
    if (this.#height > 0) this.#output.redrawBlock([], this.#height);
    this.#height = 0;
    this.#drawn = -Infinity;
  }

  #isTime(): boolean {
    return this.#now() - this.#drawn >= REDRAW_MS;
  }

  #draw(): void {
    this.#drawn = this.#now();
    const sum = this.#meter && progressLine('Total', this.#meter.reading, this.#output.columns - 1);
    const room = this.#output.rows - (sum === undefined ? 1 : 2);
    const texts = [...barLines(this.#lines, Math.max(1, room)), ...(sum === undefined ? [] : [sum])];
    this.#output.redrawBlock(texts, this.#height);
    this.#height = texts.length;
  }
}

/** Returns at most `limit` lines of text for these layers, in their order. */
export function barLines(layers: ReadonlyMap<string, LayerLine>, limit: number): string[] {
  const all = [...layers];
  if (all.length <= limit) return all.map(([id, line]) => barLine(id, line));
  const chosen = new Set(
    [0, 1, 2].flatMap((rank) => all.filter(([, line]) => line.rank === rank)).slice(0, limit - 1),
  );
  const others = all.filter((layer) => !chosen.has(layer));
  const count = (rank: number): string => String(others.filter(([, line]) => line.rank === rank).length);
  const rest = `and ${String(others.length)} more layers: ${count(2)} done, ${count(1)} waiting`;
  return [...all.filter((layer) => chosen.has(layer)).map(([id, line]) => barLine(id, line)), rest];
}

function barLine(id: string, { phase, current, total, rank }: LayerLine): string {
  if (rank !== 0 || total === 0) return `${id}: ${phase}`;
  const filled = Math.floor((Math.min(current, total) / total) * BAR);
  const bar = `${'='.repeat(filled)}${filled < BAR ? '>' : ''}`.padEnd(BAR);
  return `${id}: ${phase.padEnd(11)} [${bar}]  ${formatBytes(current)}/${formatBytes(total)}`;
}
