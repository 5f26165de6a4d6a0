/**
 * Parses Go's regular expressions (RE2) into a tree, which expression.ts matches. Mirrors `regexp/syntax` of
 * Go.
 */

export type Assertion = 'begin' | 'end' | 'begin-line' | 'end-line' | 'word-edge' | 'no-word-edge';

export type Node =
  | { readonly kind: 'one'; readonly fits: (code: number) => boolean }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence' | 'choice'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number };

/** The pattern is malformed. */
export class ExpressionSyntaxError extends Error {}

/** The same bound as in Go. */
const MAX_REPEAT = 1000;
const MAX_DEPTH = 1000;

type Fits = (code: number) => boolean;

/** Letters of `(?flags)`. `U` prefers short matches, so it does not change whether a text matches. */
interface Flags {
  readonly i: boolean;
  readonly m: boolean;
  readonly s: boolean;
}

const range = (low: string | number, high: string | number = low): Fits => {
  const [from, to] = [low, high].map((end) => (typeof end === 'number' ? end : (end.codePointAt(0) ?? 0)));
  return (code) => code >= (from ?? 0) && code <= (to ?? 0);
};
const any =
  (...all: readonly Fits[]): Fits =>
  (code) =>
    all.some((fits) => fits(code));
const not =
  (fits: Fits): Fits =>
  (code) =>
    !fits(code);

const DIGIT = range('0', '9');
const LOWER = range('a', 'z');
const UPPER = range('A', 'Z');
const ALPHA = any(LOWER, UPPER);
const WORD = any(ALPHA, DIGIT, range('_'));
const SPACE = any(range('\t', '\n'), range('\f', '\r'), range(' '));

/** `\d` and its like. */
const PERL: ReadonlyMap<string, Fits> = new Map([
  ...(
    [
      ['d', DIGIT],
      ['w', WORD],
      ['s', SPACE],
    ] as const
  ).flatMap(([name, fits]) => [[name, fits] as const, [name.toUpperCase(), not(fits)] as const]),
]);

/** `[[:alpha:]]` and its like. */
const POSIX: ReadonlyMap<string, Fits> = new Map([
  ['alnum', any(ALPHA, DIGIT)],
  ['alpha', ALPHA],
  ['ascii', range(0, 0x7f)],
  ['blank', any(range(' '), range('\t'))],
  ['cntrl', any(range(0, 0x1f), range(0x7f))],
  ['digit', DIGIT],
  ['graph', range('!', '~')],
  ['lower', LOWER],
  ['print', range(' ', '~')],
  ['punct', any(range('!', '/'), range(':', '@'), range('[', '`'), range('{', '~'))],
  ['space', any(range('\t', '\r'), range(' '))],
  ['upper', UPPER],
  ['word', WORD],
  ['xdigit', any(DIGIT, range('a', 'f'), range('A', 'F'))],
]);

const CONTROLS: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  A: 'begin',
  z: 'end',
  b: 'word-edge',
  B: 'no-word-edge',
};

/** @throws {@link ExpressionSyntaxError} */
export function parseExpression(pattern: string): Node {
  const parser = new Parser(pattern);
  const node = parser.choice({ i: false, m: false, s: false }, 0);
  if (!parser.done) fail('a closing parenthesis without an opening one');
  return node;
}

function fail(why: string): never {
  throw new ExpressionSyntaxError(why);
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get done(): boolean {
    return this.#at === this.#text.length;
  }

  /** Reads up to the end, or up to a closing parenthesis. */
  choice(flags: Flags, depth: number): Node {
    if (depth > MAX_DEPTH) fail('nested too deeply');
    const nodes: Node[] = [];
    let sequence: Node[] = [];
    for (;;) {
      if (this.done || this.#text[this.#at] === ')') break;
      if (this.#take(/\|/y) !== undefined) {
        nodes.push({ kind: 'sequence', nodes: sequence });
        sequence = [];
        continue;
      }
      // Flags hold up to the end of their group.
      const changed = this.#take(/\(\?([imsU]*(?:-[imsU]+)?)\)/y);
      if (changed !== undefined) {
        flags = changeFlags(flags, changed[1] ?? '');
        continue;
      }
      sequence.push(...this.#quoted(flags), ...this.#repeated(flags, depth));
    }
    return { kind: 'choice', nodes: [...nodes, { kind: 'sequence', nodes: sequence }] };
  }

  #take(expression: RegExp): RegExpExecArray | undefined {
    expression.lastIndex = this.#at;
    const found = expression.exec(this.#text);
    if (found === null) return undefined;
    this.#at = expression.lastIndex;
    return found;
  }

  /** Reads `\Q…\E`. A repetition after it repeats its last character. */
  #quoted(flags: Flags): Node[] {
    if (this.#take(/\\Q/y) === undefined) return [];
    const end = this.#text.indexOf('\\E', this.#at);
    const text = this.#text.slice(this.#at, end < 0 ? undefined : end);
    this.#at += text.length + (end < 0 ? 0 : 2);
    const nodes = [...text].map((character) => literal(character, flags));
    const last = nodes.pop();
    return last === undefined ? [] : [...nodes, this.#withRepeat(last)];
  }

  #repeated(flags: Flags, depth: number): Node[] {
    if (this.done || /[|)]/.test(this.#text[this.#at] ?? '') || this.#text.startsWith('\\Q', this.#at))
      return [];
    return [this.#withRepeat(this.#atom(flags, depth))];
  }

  #withRepeat(node: Node): Node {
    const found = this.#take(/(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})\??/y);
    if (found === undefined) return node;
    const [, sign, low, comma, high] = found;
    const [min, max] =
      sign === undefined
        ? [
            Number(low),
            comma === undefined ? Number(low) : high === '' ? Number.POSITIVE_INFINITY : Number(high),
          ]
        : [sign === '+' ? 1 : 0, sign === '?' ? 1 : Number.POSITIVE_INFINITY];
    if (min > MAX_REPEAT || min > max || (max > MAX_REPEAT && max !== Number.POSITIVE_INFINITY))
      fail('a bad repeat count');
    if (this.#take(/[*+?]|\{\d+(?:,\d*)?\}/y) !== undefined) fail('a repeat of a repeat');
    return { kind: 'repeat', node, min, max };
  }

  #atom(flags: Flags, depth: number): Node {
    if (this.#take(/\((?:\?:|\?P?<\w+>)?(?!\?)/y) !== undefined) return this.#group(flags, depth);
    const grouped = this.#take(/\(\?([imsU]*(?:-[imsU]+)?):/y);
    if (grouped !== undefined) return this.#group(changeFlags(flags, grouped[1] ?? ''), depth);
    if (this.#take(/\[/y) !== undefined) return this.#class(flags);
    if (this.#take(/\\/y) !== undefined) return this.#escape(flags);
    const [character = ''] = this.#take(/[^]/uy) ?? [];
    switch (character) {
      case '.':
        return { kind: 'one', fits: flags.s ? () => true : not(range('\n')) };
      case '^':
        return { kind: 'assert', assertion: flags.m ? 'begin-line' : 'begin' };
      case '$':
        return { kind: 'assert', assertion: flags.m ? 'end-line' : 'end' };
      case '(':
      case '*':
      case '+':
      case '?':
        return fail('nothing to repeat');
      default:
        return literal(character, flags);
    }
  }

  #group(flags: Flags, depth: number): Node {
    const node = this.choice(flags, depth + 1);
    if (this.#take(/\)/y) === undefined) fail('a parenthesis is not closed');
    return node;
  }

  #escape(flags: Flags): Node {
    const [name = ''] = this.#take(/[AzbB]/y) ?? [];
    const assertion = ASSERTIONS[name];
    if (assertion !== undefined) return { kind: 'assert', assertion };
    const perl = this.#perl();
    return perl === undefined
      ? literal(String.fromCodePoint(this.#escaped()), flags)
      : { kind: 'one', fits: perl };
  }

  #perl(): Fits | undefined {
    return PERL.get(this.#take(/[dDwWsS]/y)?.[0] ?? '');
  }

  /** Reads an escape after its backslash and returns the character that it stands for. */
  #escaped(): number {
    const [, plain, two, braced, octal, control] =
      this.#take(
        /([!-/:-@[-`{-~])|x([0-9a-fA-F]{2})|x\{([0-9a-fA-F]{1,8})\}|(0[0-7]{0,2}|[1-7][0-7]{2})|([aftnrv])/y,
      ) ?? fail('an unknown escape');
    if (plain !== undefined) return plain.codePointAt(0) ?? 0;
    const code = octal !== undefined ? Number.parseInt(octal, 8) : Number.parseInt(two ?? braced ?? '', 16);
    if (control !== undefined) return CONTROLS[control] ?? 0;
    return code <= 0x10ffff ? code : fail('an escape beyond the last code point');
  }

  /** Reads a class after its opening bracket. */
  #class(flags: Flags): Node {
    const negated = this.#take(/\^/y) !== undefined;
    const members: Fits[] = [];
    while (members.length === 0 || this.#take(/\]/y) === undefined) {
      if (this.done) fail('a bracket is not closed');
      members.push(this.#member(flags));
    }
    const fits = any(...members);
    return { kind: 'one', fits: negated ? not(fits) : fits };
  }

  #member(flags: Flags): Fits {
    const posix = this.#take(/\[:(\^?)(\w+):\]/y);
    if (posix !== undefined) {
      const named = POSIX.get(posix[2] ?? '') ?? fail('an unknown class');
      return posix[1] === '' ? named : not(named);
    }
    if (this.#take(/\\(?=[dDwWsS])/y) !== undefined) return this.#perl() ?? fail('an unknown class');
    const low = this.#classCharacter();
    const high = this.#take(/-(?!\])/y) === undefined ? low : this.#classCharacter();
    if (low > high) fail('a range that ends before it begins');
    return folded(range(low, high), flags);
  }

  #classCharacter(): number {
    if (this.#take(/\\/y) !== undefined) return this.#escaped();
    const [character] = this.#take(/[^]/uy) ?? fail('a bracket is not closed');
    return character.codePointAt(0) ?? 0;
  }
}

function literal(character: string, flags: Flags): Node {
  return { kind: 'one', fits: folded(range(character), flags) };
}

/** Under the flag `i` a letter matches in both cases. */
function folded(fits: Fits, { i }: Flags): Fits {
  if (!i) return fits;
  return (code) => {
    const character = String.fromCodePoint(code);
    return [character, character.toLowerCase(), character.toUpperCase()].some((each) =>
      fits(each.codePointAt(0) ?? 0),
    );
  };
}

function changeFlags(flags: Flags, text: string): Flags {
  const [on = '', off = ''] = text.split('-');
  const flag = (name: keyof Flags): boolean => (flags[name] || on.includes(name)) && !off.includes(name);
  return { i: flag('i'), m: flag('m'), s: flag('s') };
}
