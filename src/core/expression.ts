/**
 * Matches regular expressions as Go's `regexp` does, for patterns that come from clients. A match takes time
 * linear in the text, while JavaScript's own matcher can take exponential time. The pattern is compiled to a
 * program (expression-parser.ts parses it) whose threads walk through the text side by side, as in Go. The
 * texts are names and ids, so Unicode classes (`\pL`) are not supported.
 */
import { LayerstackError } from './errors.ts';
import { ExpressionSyntaxError, parseExpression, type Assertion, type Node } from './expression-parser.ts';

/** Maximum length of a pattern in characters. Parsing this many takes some milliseconds. */
const MAX_PATTERN = 1024;
/** Maximum number of steps of a program. One of this size takes about a millisecond for a name. */
const MAX_STEPS = 4096;

/** Continues at both steps. */
interface Split {
  readonly kind: 'split';
  first: number;
  second: number;
}

type Step = Extract<Node, { kind: 'one' | 'assert' }> | Split | { readonly kind: 'match' };

/**
 * Compiles a pattern to a function that returns whether it is found in a text; undefined where it is
 * malformed.
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT for a pattern that is too large.
 */
export function compileExpression(pattern: string): ((text: string) => boolean) | undefined {
  if (pattern.length > MAX_PATTERN) throw tooLarge(pattern);
  let tree: Node;
  try {
    tree = parseExpression(pattern);
  } catch (error) {
    if (error instanceof ExpressionSyntaxError) return undefined;
    throw error;
  }
  const program = new Compiler(pattern).compile(tree);
  return (text) => isFound(program, text);
}

function tooLarge(pattern: string): LayerstackError {
  return new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `the pattern ${JSON.stringify(`${pattern.slice(0, 100)}…`)} is too large: give a simpler one`,
  );
}

class Compiler {
  readonly #pattern: string;
  readonly #program: Step[] = [];
  /**
   * Counts the visited nodes, repeated ones every time. Counting steps is not enough: empty nodes have none.
   */
  #visited = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  compile(tree: Node): readonly Step[] {
    this.#emit(tree);
    this.#add({ kind: 'match' });
    return this.#program;
  }

  #add<S extends Step>(step: S): S {
    this.#program.push(step);
    return step;
  }

  /** Adds a step that continues at the next one, and at another one that is set later. */
  #split(): Split {
    return this.#add({ kind: 'split', first: this.#program.length + 1, second: -1 });
  }

  #jump(place: number): Split {
    return this.#add({ kind: 'split', first: place, second: place });
  }

  /** Each step continues at the next one, except for splits. */
  #emit(node: Node): void {
    if (++this.#visited > MAX_STEPS || this.#program.length > MAX_STEPS) throw tooLarge(this.#pattern);
    switch (node.kind) {
      case 'one':
      case 'assert':
        this.#add(node);
        return;
      case 'sequence':
        for (const each of node.nodes) this.#emit(each);
        return;
      case 'choice':
        this.#emitChoice(node.nodes);
        return;
      case 'repeat':
        this.#emitRepeat(node.node, node.min, node.max);
    }
  }

  #emitChoice(nodes: readonly Node[]): void {
    const ends: Split[] = [];
    for (const node of nodes.slice(0, -1)) {
      const fork = this.#split();
      this.#emit(node);
      ends.push(this.#jump(-1));
      fork.second = this.#program.length;
    }
    for (const node of nodes.slice(-1)) this.#emit(node);
    for (const end of ends) end.first = end.second = this.#program.length;
  }

  #emitRepeat(node: Node, min: number, max: number): void {
    for (let count = 0; count < min; count++) this.#emit(node);
    const forks: Split[] = [];
    if (max === Number.POSITIVE_INFINITY) {
      const start = this.#program.length;
      forks.push(this.#split());
      this.#emit(node);
      this.#jump(start);
    } else
      for (let count = min; count < max; count++) {
        forks.push(this.#split());
        this.#emit(node);
      }
    for (const fork of forks) fork.second = this.#program.length;
  }
}

function isFound(program: readonly Step[], text: string): boolean {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  let threads: number[] = [];
  for (let at = 0; at <= codes.length; at++) {
    const reached = new Uint8Array(program.length);
    // A match may begin anywhere.
    const waiting = [...threads, 0];
    const ready: ((code: number) => boolean)[] = [];
    const places: number[] = [];
    for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
      const step = program[place];
      if (step === undefined || reached[place] === 1) continue;
      reached[place] = 1;
      if (step.kind === 'match') return true;
      if (step.kind === 'split') waiting.push(step.second, step.first);
      else if (step.kind === 'one') {
        ready.push(step.fits);
        places.push(place + 1);
      } else if (holds(step.assertion, codes, at)) waiting.push(place + 1);
    }
    const code = codes[at];
    threads = code === undefined ? [] : places.filter((_, index) => ready[index]?.(code) === true);
  }
  return false;
}

const NEWLINE = 10;

function holds(assertion: Assertion, codes: readonly number[], at: number): boolean {
  switch (assertion) {
    case 'begin':
      return at === 0;
    case 'end':
      return at === codes.length;
    case 'begin-line':
      return at === 0 || codes[at - 1] === NEWLINE;
    case 'end-line':
      return at === codes.length || codes[at] === NEWLINE;
    case 'word-edge':
      return isWord(codes[at - 1]) !== isWord(codes[at]);
    case 'no-word-edge':
      return isWord(codes[at - 1]) === isWord(codes[at]);
  }
}

function isWord(code: number | undefined): boolean {
  return code !== undefined && /^\w$/.test(String.fromCodePoint(code));
}
