/** Splits the text of a template into tokens. Mirrors golang/go: src/text/template/parse/lex.go. */
import { TemplateError } from './error.ts';

export type TokenKind =
  | 'text'
  | 'left'
  | 'right'
  | 'string'
  | 'number'
  | 'char'
  | 'field'
  | 'variable'
  | 'identifier'
  | 'space'
  | 'eof'
  | '.'
  | '|'
  | '('
  | ')'
  | ','
  | '='
  | ':=';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** Offset in the template. */
  readonly at: number;
}

/** Returns `template: :LINE`, with which each message begins. */
export function place(source: string, at: number): string {
  return `template: :${source.slice(0, at).split('\n').length}`;
}

/** Returns the tokens of a template. @throws TemplateError */
export function lex(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < source.length) {
    const open = source.indexOf('{{', at);
    if (open < 0) break;
    const trims = /^\{\{-[ \t\r\n]/.test(source.slice(open, open + 4));
    const text = source.slice(at, open);
    pushText(tokens, trims ? text.replace(/[ \t\r\n]+$/, '') : text, at);
    at = lexAction(source, open, open + (trims ? 3 : 2), tokens);
    if (source.slice(at - 4, at).match(/[ \t\r\n]-\}\}/)) at += blanks(source.slice(at));
  }
  pushText(tokens, source.slice(at), at);
  tokens.push({ kind: 'eof', text: '', at: source.length });
  return tokens;
}

/** Counts the leading blanks of a text. */
function blanks(text: string): number {
  return /^[ \t\r\n]*/.exec(text)?.[0].length ?? 0;
}

function pushText(tokens: Token[], text: string, at: number): void {
  if (text !== '') tokens.push({ kind: 'text', text, at });
}

const LEXEMES: readonly (readonly [TokenKind, RegExp])[] = [
  ['space', /[ \t\r\n]+/y],
  ['string', /"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`/y],
  ['char', /'(?:[^'\\\n]|\\[^\n])+'/y],
  [
    'number',
    /[+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/y,
  ],
  ['field', /\.[\p{L}_][\p{L}\p{Nd}_]*/uy],
  ['variable', /\$[\p{L}\p{Nd}_]*/uy],
  ['identifier', /[\p{L}_][\p{L}\p{Nd}_]*/uy],
  [':=', /:=/y],
  ['.', /\./y],
  ['|', /\|/y],
  ['(', /\(/y],
  [')', /\)/y],
  [',', /,/y],
  ['=', /=/y],
];

/** Reads one action after its `{{`. Returns the position of its end. */
function lexAction(source: string, open: number, start: number, tokens: Token[]): number {
  const fail = (what: string): never => {
    throw new TemplateError(`${place(source, open)}: ${what}`);
  };
  const comment = start + blanks(source.slice(start, start + 1));
  const from = source.startsWith('/*', start) ? start : comment;
  if (source.startsWith('/*', from)) {
    const end = source.indexOf('*/', from + 2);
    if (end < 0) return fail('unclosed comment');
    const close = /^(?:[ \t\r\n]-)?\}\}/.exec(source.slice(end + 2, end + 6));
    return close ? end + 2 + close[0].length : fail('comment ends before closing delimiter');
  }
  tokens.push({ kind: 'left', text: '{{', at: open });
  let depth = 0;
  for (let at = start; ;) {
    const close = /^(?:[ \t\r\n]-)?\}\}/.exec(source.slice(at, at + 4));
    if (close) {
      if (depth > 0) fail('unclosed left paren');
      tokens.push({ kind: 'right', text: '}}', at });
      return at + close[0].length;
    }
    if (at >= source.length) return fail('unclosed action');
    const token = nextToken(source, at);
    if (!token) return fail(whatIsWrong(source, at));
    depth += token.kind === '(' ? 1 : token.kind === ')' ? -1 : 0;
    if (depth < 0) fail('unexpected right paren');
    if (token.kind !== 'space' || tokens.at(-1)?.kind !== 'left') tokens.push(token);
    at += token.text.length;
  }
}

function nextToken(source: string, at: number): Token | undefined {
  for (const [kind, pattern] of LEXEMES) {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (!match) continue;
    // A blank before `-}}` belongs to the end of the action.
    const text =
      kind === 'space' && source.startsWith('-}}', at + match[0].length) ? match[0].slice(0, -1) : match[0];
    if (text !== '') return { kind, text, at };
  }
  return undefined;
}

function whatIsWrong(source: string, at: number): string {
  const character = String.fromCodePoint(source.codePointAt(at) ?? 0);
  if (character === '"') return 'unterminated quoted string';
  if (character === '`') return 'unterminated raw quoted string';
  if (character === "'") return 'unterminated character constant';
  const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return `unexpected ${JSON.stringify(character)} in operand (U+${code})`;
}
