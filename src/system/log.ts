/**
 * The log. A library does not write to its host's terminal. By default every record goes to the diagnostics
 * channel `layerstack:<level>` (as `{message, facts}`), to which the process may subscribe. It goes to stderr
 * only with `NODE_DEBUG=layerstack` or `LAYERSTACK_DEBUG=1`.
 */
import { channel } from 'node:diagnostics_channel';
import { debuglog, inspect } from 'node:util';
import { printable } from '../core/printable.ts';
import { isDebugging } from './environment.ts';

/** Facts of a record; printed as `key=value`. */
export type LogFacts = Readonly<Record<string, unknown>>;

/** Receives the records. Every method returns at once and never throws. */
export interface Logger {
  debug(message: string, facts?: LogFacts): void;
  info(message: string, facts?: LogFacts): void;
  warn(message: string, facts?: LogFacts): void;
  error(message: string, facts?: LogFacts): void;
}

const section = debuglog('layerstack');

function print(level: string, message: string, facts: LogFacts): void {
  const pairs = Object.entries(facts).map(
    ([key, value]) => ` ${key}=${inspect(value, { breakLength: Infinity })}`,
  );
  const text = printable(`${level}: ${message}${pairs.join('')}`);
  if (section.enabled) section('%s', text);
  else if (isDebugging()) process.stderr.write(`layerstack ${text}\n`);
}

function record(level: keyof Logger): (message: string, facts?: LogFacts) => void {
  const subscribers = channel(`layerstack:${level}`);
  return (message, facts = {}) => {
    if (subscribers.hasSubscribers) subscribers.publish({ message, facts });
    print(level, message, facts);
  };
}

/** The default logger of an opened store. */
export const defaultLogger: Logger = {
  debug: record('debug'),
  info: record('info'),
  warn: record('warn'),
  error: record('error'),
};
