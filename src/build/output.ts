/**
 * The output of stages that are built at the same time. A reader sees them one after another: the output of a
 * stage is kept until the stages before it have ended.
 */

/** The bytes that are kept of one stage. Later output of it is dropped until it is the first one. */
const MAX_KEPT = 1 << 20;

interface Lane {
  kept: string;
  isOver: boolean;
}

export class OrderedOutput {
  readonly #print: (text: string) => void;
  readonly #lanes: Lane[];
  #first = 0;

  /** @param count - the number of stages */
  constructor(count: number, print: (text: string) => void) {
    this.#print = print;
    this.#lanes = Array.from({ length: count }, () => ({ kept: '', isOver: false }));
  }

  /** Prints a text of a stage, now or later. */
  write(lane: number, text: string): void {
    if (lane === this.#first) this.#print(text);
    else {
      const own = this.#lanes[lane];
      if (own !== undefined && own.kept.length < MAX_KEPT) own.kept += text;
    }
  }

  /** Notes that a stage has ended, and prints the output that waited for it. */
  end(lane: number): void {
    const own = this.#lanes[lane];
    if (own !== undefined) own.isOver = true;
    while (this.#lanes[this.#first]?.isOver === true) {
      this.#first++;
      const next = this.#lanes[this.#first];
      if (next === undefined || next.kept === '') continue;
      this.#print(next.kept);
      next.kept = '';
    }
  }

  /** Prints all output that is kept, in order. */
  flush(): void {
    for (let lane = this.#first; lane < this.#lanes.length; lane++) this.end(lane);
  }
}
