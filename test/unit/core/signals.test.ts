import { describe, expect, it } from 'vitest';
import { isSignal } from '../../../src/core/signals.ts';

describe('a signal', () => {
  // What dockerd 28.5 took and refused for `kill`.
  it.each(
    [
      'KILL',
      'kill',
      'SIGKILL',
      'sigKill',
      '9',
      '09',
      '64',
      '65',
      '-1',
      'RTMIN',
      'RTMIN+3',
      'RTMIN+15',
      'RTMAX',
    ].concat([...['RTMAX-14', 'SIGRTMIN+1', 'POLL', 'IO', 'CLD', 'STKFLT', 'SYS', 'IOT']]),
  )('is %s', (text) => expect(isSignal(text)).toBe(true));

  it.each([
    '0',
    '',
    'RTMIN+16',
    'RTMAX-15',
    'RTMIN-1',
    'RTMIN+0',
    'UNUSED',
    '9x',
    'SIGSIGKILL',
    'UNKNOWN',
    'RTMINX',
    'INFO',
  ])('is not %s', (text) => expect(isSignal(text)).toBe(false));
});
