/** Formats as Go's `fmt.Sprintf` does (golang/go: src/fmt/print.go), for the values that templates have. */
import { Float, show, typeName } from './values.ts';

/** Larger widths and precisions are refused, as in Go. */
const MAX_WIDTH = 1_000_000;
/**
 * layerstack's own bound for one verb. Without it a template could ask for a million columns a thousand
 * times.
 */
const BOUND = 10_000;

interface Flags {
  readonly flags: string;
  readonly width: number | undefined;
  readonly precision: number | undefined;
}

export function sprintf(format: string, args: readonly unknown[]): string {
  let next = 0;
  const star = (): number | undefined => {
    const value = args[next++];
    return typeof value === 'number' && Math.abs(value) <= MAX_WIDTH ? value : undefined;
  };
  const text = format.replace(
    /%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.?)/gsu,
    (_, ...[flags, width, precision, verb]: [string, string | undefined, string | undefined, string]) => {
      if (verb === '') return '%!(NOVERB)';
      let wide = width === '*' ? star() : width === undefined ? undefined : Number(width);
      const exact = precision === '*' ? star() : precision === undefined ? undefined : Number(precision);
      if (wide !== undefined && wide < 0) {
        flags += '-';
        wide = -wide;
      }
      if (verb === '%') return '%';
      if (next >= args.length) return `%!${verb}(MISSING)`;
      const bound = (value: number | undefined) => (value === undefined ? undefined : Math.min(value, BOUND));
      return one(verb, args[next++], { flags, width: bound(wide), precision: bound(exact) });
    },
  );
  if (next >= args.length) return text;
  const extra = args.slice(next).map((each) => (each == null ? '<nil>' : `${typeName(each)}=${show(each)}`));
  return `${text}%!(EXTRA ${extra.join(', ')})`;
}

function one(verb: string, value: unknown, how: Flags): string {
  if (verb === 'T') return pad(typeName(value), how);
  if (verb === 'v' && !(how.flags.includes('#') && typeof value === 'string')) {
    if (isInteger(value)) return integer(value, 10, how);
    return pad(show(value), how);
  }
  if (Array.isArray(value)) return `[${value.map((each) => one(verb, each, how)).join(' ')}]`;
  const text =
    typeof value === 'string'
      ? ofString(verb, value, how)
      : typeof value === 'boolean'
        ? verb === 't'
          ? pad(String(value), how)
          : undefined
        : isInteger(value)
          ? ofInteger(verb, value, how)
          : value instanceof Float || typeof value === 'number'
            ? ofFloat(verb, Number(value instanceof Float ? value.value : value), how)
            : undefined;
  if (text !== undefined) return text;
  return value === undefined || value === null
    ? `%!${verb}(<nil>)`
    : `%!${verb}(${typeName(value)}=${show(value)})`;
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value));
}

function ofString(verb: string, value: string, how: Flags): string | undefined {
  const cut = how.precision === undefined ? value : [...value].slice(0, how.precision).join('');
  switch (verb) {
    case 's':
      return pad(cut, how);
    case 'v':
    case 'q':
      return pad(quote(cut), how);
    case 'x':
    case 'X': {
      const hex = Buffer.from(value).subarray(0, how.precision).toString('hex');
      return pad(verb === 'x' ? hex : hex.toUpperCase(), how);
    }
    default:
      return undefined;
  }
}

function ofInteger(verb: string, value: number | bigint, how: Flags): string | undefined {
  switch (verb) {
    case 'd':
      return integer(value, 10, how);
    case 'b':
      return integer(value, 2, how);
    case 'o':
      return integer(value, 8, how);
    case 'x':
    case 'X': {
      const text = integer(value, 16, how);
      return verb === 'x' ? text : text.toUpperCase();
    }
    case 'c':
      return pad(character(value), how);
    case 'q':
      return pad(`'${character(value)}'`, how);
    case 'U':
      return pad(`U+${value.toString(16).toUpperCase().padStart(4, '0')}`, how);
    default:
      return undefined;
  }
}

function character(value: number | bigint): string {
  const code = Number(value);
  return code >= 0 && code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
}

function integer(value: number | bigint, base: number, how: Flags): string {
  const { flags, width, precision } = how;
  const sign = value < 0 ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  const prefix = flags.includes('#') ? ({ 16: '0x', 8: '0', 2: '0b' }[base] ?? '') : '';
  let digits = (value < 0 ? -value : value).toString(base);
  if (precision !== undefined) digits = digits.padStart(precision, '0');
  else if (flags.includes('0') && !flags.includes('-') && width !== undefined)
    digits = digits.padStart(width - sign.length - prefix.length, '0');
  return pad(sign + prefix + digits, { ...how, flags: flags.replaceAll('0', '') });
}

function ofFloat(verb: string, value: number, how: Flags): string | undefined {
  const { flags, width } = how;
  const precision = Math.min(how.precision ?? 6, 100);
  const exponent = (text: string) => text.replace(/e([+-])(\d)$/, 'e$10$2');
  let text: string;
  if (verb === 'f' || verb === 'F') text = Math.abs(value).toFixed(precision);
  else if (verb === 'e' || verb === 'E') text = exponent(Math.abs(value).toExponential(precision));
  else if (verb === 'g' || verb === 'G')
    text =
      how.precision === undefined
        ? show(new Float(Math.abs(value)))
        : exponent(String(Number(Math.abs(value).toPrecision(precision || 1))));
  else return undefined;
  if (verb === verb.toUpperCase()) text = text.toUpperCase();
  const sign = value < 0 ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  if (flags.includes('0') && !flags.includes('-') && width !== undefined)
    text = text.padStart(width - sign.length, '0');
  return pad(sign + text, { ...how, flags: flags.replaceAll('0', '') });
}

function pad(text: string, { flags, width = 0 }: Flags): string {
  const missing = width - [...text].length;
  if (missing <= 0) return text;
  if (flags.includes('-')) return text + ' '.repeat(missing);
  return (flags.includes('0') ? '0' : ' ').repeat(missing) + text;
}

/** Quotes printable text and control characters as strconv.Quote does. */
export function quote(text: string): string {
  return JSON.stringify(text)
    .replaceAll('\\u0007', '\\a')
    .replaceAll('\\u000b', '\\v')
    .replace(/\\u00([01][\da-f])/g, '\\x$1')
    .replaceAll('\u007f', '\\x7f');
}
