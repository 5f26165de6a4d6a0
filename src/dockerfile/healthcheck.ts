/** HEALTHCHECK. Mirrors `moby/buildkit: frontend/dockerfile/instructions/parse.go` (parseHealthcheck). */
import { formatGoDuration, parseGoDuration } from '../core/go-duration.ts';
import { goQuote, goQuoteList, goQuoteNumber } from '../core/go-quote.ts';
import type { HealthConfig } from '../image/container-config.ts';
import { jsonList } from './arguments.ts';
import { readFlags } from './flags.ts';
import { splitInstruction } from './parse.ts';
import { WordError } from './word-error.ts';
import { trimSpace } from './words.ts';

/** docker's `MinimumDuration`, a millisecond. */
const LEAST = 1e6;
const MAX_RETRIES = 0x7fffffff;

/** @throws {@link WordError} */
export function healthcheck(
  text: string,
  written: readonly string[],
): { readonly config: HealthConfig; readonly comment: string } {
  const flags = readFlags('HEALTHCHECK', written, {
    interval: 'one',
    timeout: 'one',
    'start-period': 'one',
    'start-interval': 'one',
    retries: 'one',
  });
  const Test = testOf(text);
  if (Test[0] === 'NONE' && written.length > 0) throw new WordError('HEALTHCHECK NONE takes no flags');
  const config = {
    Test,
    Interval: duration('interval', flags.interval),
    Timeout: duration('timeout', flags.timeout),
    StartPeriod: duration('start-period', flags['start-period']),
    StartInterval: duration('start-interval', flags['start-interval']),
    Retries: retriesOf(flags.retries),
  };
  const times = [config.Interval, config.Timeout, config.StartPeriod].map((time) =>
    goQuote(formatGoDuration(time)),
  );
  // docker 20.10 prints a Go struct, which has no StartInterval.
  const members = [goQuoteList(Test), ...times, goQuoteNumber(config.Retries)];
  return { config, comment: `HEALTHCHECK &{${members.join(' ')}}` };
}

function testOf(text: string): string[] {
  const { name, rest } = splitInstruction(text);
  const command = trimSpace(rest);
  if (name === 'NONE') {
    if (command !== '') throw new WordError('HEALTHCHECK NONE takes no arguments');
    return ['NONE'];
  }
  if (name !== 'CMD') throw new WordError(`unknown type ${JSON.stringify(name)} in HEALTHCHECK (try CMD)`);
  const list = jsonList(command);
  if (command === '' || list?.length === 0) throw new WordError('a command is missing after HEALTHCHECK CMD');
  return list === undefined ? ['CMD-SHELL', command] : ['CMD', ...list];
}

function duration(flag: string, text: string | undefined): number {
  if (text === undefined || text === '') return 0;
  const time = parseGoDuration(text);
  if (time === undefined)
    throw new WordError(`--${flag}=${text} is not a duration: write 30s, 1m30s or 500ms`);
  if (time !== 0 && time < LEAST) throw new WordError(`--${flag}=${text} cannot be less than 1ms`);
  return time;
}

function retriesOf(text: string | undefined): number {
  if (text === undefined || text === '') return 0;
  const retries = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (retries < 1 || retries > MAX_RETRIES)
    throw new WordError(`--retries=${text} must be a whole number of at least 1`);
  return retries;
}
