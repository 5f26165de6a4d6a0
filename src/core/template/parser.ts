/** Parses tokens into a tree. Mirrors golang/go: src/text/template/parse/parse.go. */
import { TemplateError } from './error.ts';
import { lex, place, type Token, type TokenKind } from './lexer.ts';
import { Float } from './values.ts';

/** A part of an action that has a value. */
export type Operand =
  | { readonly kind: 'dot' | 'nil'; readonly at: number; readonly text: string }
  | { readonly kind: 'literal'; readonly value: unknown; readonly at: number; readonly text: string }
  | { readonly kind: 'field'; readonly names: readonly string[]; readonly at: number; readonly text: string }
  | { readonly kind: 'function'; readonly name: string; readonly at: number; readonly text: string }
  | {
      readonly kind: 'variable';
      readonly name: string;
      readonly names: readonly string[];
      readonly at: number;
      readonly text: string;
    }
  | {
      readonly kind: 'chain';
      readonly of: Operand;
      readonly names: readonly string[];
      readonly at: number;
      readonly text: string;
    }
  | { readonly kind: 'pipe'; readonly pipe: Pipe; readonly at: number; readonly text: string };

/** An operand, or a function with its arguments. */
export interface Command {
  readonly operands: readonly [Operand, ...Operand[]];
}

export interface Pipe {
  readonly variables: readonly string[];
  /** The action assigns to variables that exist already; otherwise it declares them. */
  readonly assigns: boolean;
  readonly commands: readonly Command[];
}

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipe: Pipe }
  | {
      readonly kind: 'if' | 'with' | 'range';
      readonly pipe: Pipe;
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    }
  | { readonly kind: 'break' | 'continue' }
  | {
      readonly kind: 'template';
      readonly name: string;
      readonly pipe: Pipe | undefined;
      readonly at: number;
    };

export interface Tree {
  readonly source: string;
  readonly body: readonly Node[];
  readonly defined: ReadonlyMap<string, readonly Node[]>;
}

/** How deep blocks and parentheses may be nested. */
const MAX_DEPTH = 200;

/** @throws TemplateError */
export function parse(source: string, functions: ReadonlySet<string>): Tree {
  const parser = new Parser(source, functions);
  return { source, body: parser.all(), defined: parser.defined };
}

class Parser {
  readonly defined = new Map<string, readonly Node[]>();
  readonly #source: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;
  #loops = 0;
  #variables: string[] = ['$'];

  constructor(source: string, functions: ReadonlySet<string>) {
    this.#source = source;
    this.#functions = functions;
    this.#tokens = lex(source);
  }

  all(): Node[] {
    const { nodes, end } = this.#list();
    if (end !== 'eof') this.#fail(`unexpected {{${end}}}`);
    return nodes;
  }

  /** Parses nodes up to the end of the text, `{{end}}` or `{{else`. After `{{else` the action continues. */
  #list(): { nodes: Node[]; end: 'eof' | 'end' | 'else' } {
    const nodes: Node[] = [];
    for (;;) {
      const token = this.#next();
      if (token.kind === 'eof') return { nodes, end: 'eof' };
      if (token.kind === 'text') {
        nodes.push({ kind: 'text', text: token.text });
        continue;
      }
      const word = this.#peek();
      if (word.kind === 'identifier' && (word.text === 'end' || word.text === 'else')) {
        this.#next();
        if (word.text === 'end') this.#closeAction('end');
        return { nodes, end: word.text };
      }
      const node = this.#action(word);
      if (node) nodes.push(node);
    }
  }

  #action(word: Token): Node | undefined {
    if (word.kind === 'identifier')
      switch (word.text) {
        case 'if':
        case 'with':
        case 'range':
          this.#next();
          return this.#block(word.text);
        case 'break':
        case 'continue':
          this.#next();
          this.#closeAction(word.text);
          if (this.#loops === 0) this.#fail(`{{${word.text}}} outside {{range}}`);
          return { kind: word.text };
        case 'template':
        case 'block': {
          this.#next();
          const name = this.#name(word.text);
          const pipe = this.#skip().kind === 'right' ? undefined : this.#pipe(`${word.text} clause`, 'right');
          if (pipe === undefined) this.#closeAction(word.text);
          if (word.text === 'block') this.#define(name);
          return { kind: 'template', name, pipe, at: word.at };
        }
        case 'define': {
          this.#next();
          const name = this.#name(word.text);
          this.#closeAction('define clause');
          this.#define(name);
          return undefined;
        }
      }
    return { kind: 'action', pipe: this.#pipe('command', 'right') };
  }

  #define(name: string): void {
    const [variables, loops] = [this.#variables, this.#loops];
    [this.#variables, this.#loops] = [['$'], 0];
    this.#deeper();
    const { nodes, end } = this.#list();
    if (end !== 'end') this.#fail(end === 'eof' ? 'unexpected EOF' : 'unexpected {{else}} in define clause');
    this.#depth--;
    [this.#variables, this.#loops] = [variables, loops];
    this.defined.set(name, nodes);
  }

  #block(kind: 'if' | 'with' | 'range'): Node {
    this.#deeper();
    const known = this.#variables.length;
    const pipe = this.#pipe(kind, 'right');
    if (kind === 'range') this.#loops++;
    const { nodes: body, end } = this.#list();
    if (kind === 'range') this.#loops--;
    let otherwise: Node[] = [];
    if (end === 'eof') this.#fail('unexpected EOF');
    if (end === 'else') {
      const chained = this.#skip();
      if (kind !== 'range' && chained.kind === 'identifier' && chained.text === kind) {
        // {{else if}}: one {{end}} ends both.
        this.#next();
        otherwise = [this.#block(kind)];
      } else {
        this.#closeAction('else');
        const rest = this.#list();
        if (rest.end === 'eof') this.#fail('unexpected EOF');
        if (rest.end === 'else') this.#fail('expected end; found {{else}}');
        otherwise = rest.nodes;
      }
    }
    this.#variables.length = known;
    this.#depth--;
    return { kind, pipe, body, otherwise };
  }

  #pipe(context: string, end: TokenKind): Pipe {
    const { variables, assigns } = this.#declaration(context);
    const commands: Command[] = [];
    for (;;) {
      const token = this.#skip();
      if (token.kind === end) {
        this.#next();
        break;
      }
      commands.push(this.#command(end));
      // Go takes {{.ID | }} for {{.ID}}.
      if (this.#skip().kind === '|') this.#next();
    }
    if (commands.length === 0) this.#fail(`missing value for ${context}`);
    for (const { operands } of commands.slice(1))
      if (['literal', 'dot', 'nil'].includes(operands[0].kind))
        this.#fail(
          `non executable command in pipeline stage ${commands.findIndex((each) => each.operands === operands) + 1}`,
        );
    if (!assigns) this.#variables.push(...variables);
    return { variables, assigns, commands };
  }

  #declaration(context: string): { variables: string[]; assigns: boolean } {
    const start = this.#at;
    const variables: string[] = [];
    for (let token = this.#skip(); token.kind === 'variable'; token = this.#skip()) {
      this.#next();
      variables.push(token.text);
      const after = this.#skip();
      if (after.kind === ':=' || after.kind === '=') {
        this.#next();
        if (after.kind === '=') for (const name of variables) this.#known(name);
        return { variables, assigns: after.kind === '=' };
      }
      if (after.kind !== ',' || context !== 'range') break;
      this.#next();
      if (variables.length === 2) this.#fail('too many declarations in range');
    }
    this.#at = start;
    return { variables: [], assigns: false };
  }

  #command(end: TokenKind): Command {
    const operands: Operand[] = [];
    for (;;) {
      const token = this.#skip();
      if (token.kind === end || token.kind === '|') break;
      const operand = this.#operand();
      if (!operand) return this.#unexpected(token, 'operand');
      operands.push(operand);
      const after = this.#peek();
      if (after.kind === 'space') continue;
      if (after.kind === end || after.kind === '|' || after.kind === ')') break;
      return this.#unexpected(after, 'operand');
    }
    const [first, ...rest] = operands;
    if (!first) return this.#fail('empty command');
    return { operands: [first, ...rest] };
  }

  #operand(): Operand | undefined {
    const token = this.#peek();
    const term = this.#term();
    if (!term) return undefined;
    const names: string[] = [];
    for (let next = this.#peek(); next.kind === 'field'; next = this.#peek()) {
      names.push(next.text.slice(1));
      this.#next();
    }
    if (names.length === 0) return term;
    const text = `${term.text}.${names.join('.')}`;
    if (term.kind === 'field') return { ...term, names: [...term.names, ...names], text };
    if (term.kind === 'variable') return { ...term, names, text };
    if (term.kind === 'literal' || term.kind === 'nil' || term.kind === 'dot')
      return this.#fail(`unexpected . after term ${JSON.stringify(term.text)}`);
    return { kind: 'chain', of: term, names, at: token.at, text };
  }

  #term(): Operand | undefined {
    const { kind, text, at } = this.#peek();
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- the others begin no operand
    switch (kind) {
      case 'identifier':
        this.#next();
        if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true', at, text };
        if (text === 'nil') return { kind: 'nil', at, text };
        if (!this.#functions.has(text)) return this.#fail(`function ${JSON.stringify(text)} not defined`);
        return { kind: 'function', name: text, at, text };
      case '.':
        this.#next();
        return { kind: 'dot', at, text };
      case 'field':
        this.#next();
        return { kind: 'field', names: [text.slice(1)], at, text };
      case 'variable':
        this.#next();
        this.#known(text);
        return { kind: 'variable', name: text, names: [], at, text };
      case 'string':
        this.#next();
        return { kind: 'literal', value: this.#unquote(text), at, text };
      case 'char':
        this.#next();
        return { kind: 'literal', value: this.#unquote(text).codePointAt(0) ?? 0, at, text };
      case 'number':
        this.#next();
        return { kind: 'literal', value: this.#number(text), at, text };
      case '(': {
        this.#next();
        this.#deeper();
        const pipe = this.#pipe('parenthesized pipeline', ')');
        this.#depth--;
        return {
          kind: 'pipe',
          pipe,
          at,
          text: this.#source.slice(at, (this.#tokens[this.#at - 1]?.at ?? at) + 1),
        };
      }
      default:
        return undefined;
    }
  }

  #number(text: string): unknown {
    const plain = text.replaceAll('_', '');
    const [sign, digits] = /^[+-]/.test(plain) ? [plain[0] === '-' ? -1 : 1, plain.slice(1)] : [1, plain];
    const based = /^0[xob]/i.test(digits);
    const value = sign * Number(/^0\d+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
    if (Number.isNaN(value)) return this.#fail(`bad number syntax: ${JSON.stringify(text)}`);
    return !based && /[.e]/i.test(digits) ? new Float(value) : value;
  }

  #unquote(text: string): string {
    if (text.startsWith('`')) return text.slice(1, -1);
    return text.slice(1, -1).replace(ESCAPE, (_, escape: string) => {
      const short = SHORT[escape];
      if (short !== undefined) return short;
      const code = /^[0-7]{3}$/.test(escape) ? parseInt(escape, 8) : parseInt(escape.slice(1), 16);
      if (Number.isNaN(code) || code > 0x10ffff || !/^[xuU0-7]/.test(escape))
        return this.#fail('invalid syntax');
      return String.fromCodePoint(code);
    });
  }

  #known(name: string): void {
    if (!this.#variables.includes(name)) this.#fail(`undefined variable ${JSON.stringify(name)}`);
  }

  #name(context: string): string {
    const token = this.#skip();
    if (token.kind !== 'string') return this.#unexpected(token, `${context} clause`);
    this.#next();
    return this.#unquote(token.text);
  }

  #closeAction(context: string): void {
    const token = this.#skip();
    if (token.kind !== 'right') this.#unexpected(token, context);
    this.#next();
  }

  #deeper(): void {
    if (++this.#depth > MAX_DEPTH) this.#fail('too deeply nested');
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#at, this.#tokens.length - 1)] as Token;
  }

  #next(): Token {
    const token = this.#peek();
    this.#at++;
    return token;
  }

  /** Reads the next token that is not a blank. */
  #skip(): Token {
    while (this.#peek().kind === 'space') this.#at++;
    return this.#peek();
  }

  #unexpected(token: Token, context: string): never {
    const shown = token.kind === 'eof' ? 'EOF' : token.kind === 'right' ? '"}}"' : `<${token.text}>`;
    return this.#fail(`unexpected ${shown} in ${context}`);
  }

  #fail(what: string): never {
    throw new TemplateError(`${place(this.#source, this.#peek().at)}: ${what}`);
  }
}

const ESCAPE = /\\([0-7]{3}|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[^])/g;
const SHORT: Readonly<Record<string, string>> = {
  ...{ a: '\u0007', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' },
  ...{ '\\': '\\', "'": "'", '"': '"' },
};
