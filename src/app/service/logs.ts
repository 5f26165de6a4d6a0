/**
 * The service's log: a line for each record, as a JSON object (`time`, `level`, `message`, then the facts) or
 * as text for people. Both are safe to show on a terminal, even if a hostile client chose the names in them.
 * Facts are printed as given, except that secrets in URLs (passwords, signatures) are removed. Callers leave
 * other secrets out (request-log.ts logs paths without queries).
 */
import { inspect } from 'node:util';
import { isError } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';
import { redactUrl } from '../../transfer/registry/redact.ts';
import type { LogFacts, Logger } from '../../system/log.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFormat = 'json' | 'text';

/** A longer text, from a request or an archive, is cut. */
const MAX_TEXT = 4096;

export interface ServiceLogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Writes a line; must not block. */
  readonly write: (line: string) => void;
  readonly now?: () => Date;
}

/** A logger that writes lines at or above its level. The level may change. */
export class ServiceLog implements Logger {
  level: LogLevel;
  readonly #format: LogFormat;
  readonly #write: (line: string) => void;
  readonly #now: () => Date;

  constructor({ level, format, write, now = () => new Date() }: ServiceLogOptions) {
    this.level = level;
    this.#format = format;
    this.#write = write;
    this.#now = now;
  }

  debug(message: string, facts?: LogFacts): void {
    this.#record('debug', message, facts);
  }
  info(message: string, facts?: LogFacts): void {
    this.#record('info', message, facts);
  }
  warn(message: string, facts?: LogFacts): void {
    this.#record('warn', message, facts);
  }
  error(message: string, facts?: LogFacts): void {
    this.#record('error', message, facts);
  }

  #record(level: LogLevel, message: string, facts: LogFacts = {}): void {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(this.level)) return;
    const time = this.#now().toISOString();
    this.#write(
      this.#format === 'json'
        ? printable(JSON.stringify({ time, level, message: plain(message), ...plainFacts(facts) }))
        : printable(`${time} ${level.toUpperCase().padEnd(5)} ${plain(message)}${pairs(facts)}`),
    );
  }
}

/**
 * Converts facts to values that JSON can hold: errors to their message, other objects to the text of
 * `inspect`.
 */
function plainFacts(facts: LogFacts): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(facts)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, plainValue(value)]),
  );
}

function plainValue(value: unknown): unknown {
  if (typeof value === 'string') return plain(value);
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value;
  if (isError(value)) return plain(value.message);
  return plain(inspect(value, { breakLength: Infinity, depth: 4, maxArrayLength: 20, maxStringLength: 256 }));
}

/** Cuts a long text, and removes secrets from URLs. */
function plain(text: string): string {
  const short = text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
  return short.replace(/\bhttps?:\/\/[^\s"'<>]+/gi, (url) => {
    let length = url.length;
    while ('.,:;)'.includes(url.charAt(length - 1))) length--;
    const bare = url.slice(0, length);
    return /[@?#]/.test(bare) ? `${redactUrl(bare)}${url.slice(length)}` : url;
  });
}

function pairs(facts: LogFacts): string {
  return Object.entries(plainFacts(facts))
    .map(
      ([key, value]) =>
        ` ${key}=${typeof value === 'string' && !/^[\w./:@+-]+$/.test(value) ? JSON.stringify(value) : String(value)}`,
    )
    .join('');
}
