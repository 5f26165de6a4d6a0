/** Drawing of progress, with numbers and a clock that are given. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LayerBars } from '../../../src/app/cli/layer-bars.ts';
import { Meter } from '../../../src/app/cli/meter.ts';
import { clock, progressLine } from '../../../src/app/cli/progress-line.ts';
import { ProgressDisplay } from '../../../src/app/cli/progress.ts';
import { Output } from '../../../src/app/cli/terminal.ts';

const MB = 1_000_000;

/** A clock that the test sets. */
class Clock {
  at = 1000;
  readonly now = (): number => this.at;
  pass(ms: number): void {
    this.at += ms;
  }
}

function outputTo({ isTTY = true, columns = 100 } = {}): { output: Output; text: () => string } {
  let text = '';
  const write = (chunk: string): boolean => {
    text += chunk;
    return true;
  };
  return {
    output: new Output({ isTTY, columns, rows: 24, write } as unknown as NodeJS.WriteStream),
    text: () => text,
  };
}

afterEach(() => vi.unstubAllEnvs());

describe('a meter', () => {
  it('gives no rate at first, and then the rate of the last five seconds', () => {
    const time = new Clock();
    const meter = new Meter(time.now);
    time.pass(200);
    meter.add(2 * MB, 100 * MB);
    expect(meter.reading).toEqual({ current: 2 * MB, total: 100 * MB, rate: undefined, elapsed: 0.2 });
    for (let second = 1; second <= 10; second++) {
      time.pass(1000);
      meter.add((2 + second * 4) * MB, 100 * MB);
    }
    expect(meter.reading).toEqual({ current: 42 * MB, total: 100 * MB, rate: 4 * MB, elapsed: 10.2 });
    for (let second = 1; second <= 6; second++) {
      time.pass(1000);
      meter.add((42 + second) * MB, 100 * MB);
    }
    expect(meter.reading.rate).toBe(1 * MB);
  });

  it('falls while no bytes come, and starts again when the work shrinks', () => {
    const time = new Clock();
    const meter = new Meter(time.now);
    time.pass(1000);
    meter.add(8 * MB);
    expect(meter.reading.rate).toBe(8 * MB);
    time.pass(3000);
    expect(meter.reading.rate).toBe(2 * MB);
    meter.add(1 * MB);
    expect(meter.reading.rate).toBeUndefined();
    time.pass(1000);
    meter.add(4 * MB);
    expect(meter.reading.rate).toBe(3 * MB);
  });
});

describe('a line', () => {
  const reading = { current: 123 * MB, total: 246 * MB, rate: 41 * MB, elapsed: 3 };

  it.each([
    [100, 'loading:  50% [===============>              ]  123MB/246MB  41MB/s  3s left'],
    [60, 'loading:  50% [=======>      ]  123MB/246MB  41MB/s  3s left'],
    [50, 'loading:  50%  123MB/246MB  41MB/s  3s left'],
    [40, 'loading:  50%  41MB/s  3s left'],
    [25, 'loading:  50%  3s left'],
    [15, 'loading:  50%'],
    [8, 'loading:'],
    [0, ''],
  ])('fits into %d characters', (width, line) => {
    expect(progressLine('loading', reading, width)).toBe(line);
    expect(line.length).toBeLessThanOrEqual(width);
  });

  it.each([
    [100, 'loading: 123MB  41MB/s  1m05s'],
    [26, 'loading: 123MB  41MB/s'],
    [20, 'loading: 123MB'],
  ])('without a total shows the elapsed time, in %d characters', (width, line) => {
    expect(progressLine('loading', { current: 123 * MB, rate: 41 * MB, elapsed: 65 }, width)).toBe(line);
  });

  it('begins empty, ends full, and never exceeds its total', () => {
    expect(progressLine('x', { current: 0, total: 100, elapsed: 0 }, 80)).toBe(
      `x:   0% [>${' '.repeat(29)}]  0B/100B`,
    );
    const full = `x: 100% [${'='.repeat(30)}]  100B/100B  10B/s  0s left`;
    for (const current of [100, 200])
      expect(
        progressLine('x', { current, total: 100, rate: 10, elapsed: 9 }, 80).replace(/ {2}\ds left$/, ''),
      ).toBe(full.replace('  0s left', ''));
  });

  it('shows no remaining time while no bytes come', () => {
    expect(progressLine('x', { ...reading, rate: 0 }, 80)).toMatch(/123MB\/246MB {2}0B\/s$/);
    expect(progressLine('x', { ...reading, rate: 1 }, 80)).toMatch(/1B\/s$/);
  });

  it.each([
    [0, '0s'],
    [59.9, '59s'],
    [60, '1m00s'],
    [3599, '59m59s'],
    [3600, '1h00m'],
    [7530, '2h05m'],
  ])('formats times for people: %d', (seconds, text) => {
    expect(clock(seconds)).toBe(text);
  });
});

describe('a display', () => {
  it('redraws one line on a terminal, at most ten times a second, and removes it', () => {
    const time = new Clock();
    const { output, text } = outputTo({ columns: 60 });
    const display = new ProgressDisplay(output, { quiet: false, doing: 'loading', now: time.now });
    for (let step = 1; step <= 10; step++) {
      time.pass(50);
      display.show({ type: 'progress', current: step * MB, total: 20 * MB });
    }
    const drawn = text().split('\r\u001b[K').slice(1);
    expect(drawn).toHaveLength(5);
    expect(drawn[0]).toBe(`loading:  10% [===>${' '.repeat(26)}]  2MB/20MB`);
    expect(drawn[4]).toBe('loading:  50% [=======>       ]  10MB/20MB  20MB/s  1s left');
    for (const line of drawn) expect(line.length).toBeLessThan(60);
    display.show({ type: 'notice', message: 'by the way' });
    display.clear();
    expect(text().endsWith('\r\u001b[Klayerstack: by the way\n')).toBe(true);
  });

  it('writes whole lines on a terminal that cannot redraw, at each tenth and once a second at most', () => {
    vi.stubEnv('TERM', 'dumb');
    const time = new Clock();
    const { output, text } = outputTo();
    const display = new ProgressDisplay(output, { quiet: false, doing: 'loading', now: time.now });
    for (let step = 1; step <= 30; step++) {
      time.pass(500);
      display.show({ type: 'progress', current: step * MB, total: 40 * MB });
    }
    display.clear();
    const lines = text().trimEnd().split('\n');
    expect(text()).not.toContain('\u001b');
    expect(lines.map((line) => /\d+%/.exec(line)?.[0])).toEqual([
      '10%',
      '20%',
      '30%',
      '40%',
      '50%',
      '60%',
      '70%',
    ]);
  });

  it('writes a line every ten seconds for a stream', () => {
    vi.stubEnv('TERM', 'dumb');
    const time = new Clock();
    const { output, text } = outputTo();
    const display = new ProgressDisplay(output, { quiet: false, doing: 'loading', now: time.now });
    for (let step = 1; step <= 25; step++) {
      time.pass(1000);
      display.show({ type: 'progress', current: step * MB });
    }
    expect(text()).toBe('loading: 10MB  1MB/s  10s\nloading: 20MB  1MB/s  20s\n');
  });

  it.each([
    ['quiet', { isTTY: true }, true],
    ['on a pipe', { isTTY: false }, false],
  ])('prints only notices and warnings %s', (_, stream, quiet) => {
    const time = new Clock();
    const { output, text } = outputTo(stream);
    const display = new ProgressDisplay(output, { quiet, doing: 'loading', now: time.now });
    time.pass(60_000);
    display.show({ type: 'progress', current: 1, total: 2 });
    display.show({ type: 'warning', code: 'X', message: 'beware' });
    display.clear();
    expect(text()).toBe('layerstack: warning: beware\n');
  });
});

it('the bars of layers have a line for all layers below them, until they are done', () => {
  const time = new Clock();
  const { output, text } = outputTo({ columns: 80 });
  const bars = new LayerBars(output, time.now);
  const line = { phase: 'Downloading', current: 5 * MB, total: 10 * MB, rank: 0 } as const;
  bars.set('aaa', line);
  time.pass(1000);
  bars.sum(0, 40 * MB);
  time.pass(1000);
  bars.sum(10 * MB, 40 * MB);
  expect(text().split('\u001b[K').at(-1)).toBe(
    'Total:  25% [=======>                      ]  10MB/40MB  10MB/s  3s left\n\u001b[J',
  );
  time.pass(1000);
  bars.set('aaa', { ...line, phase: 'Pull complete', rank: 2 });
  bars.finish();
  expect(text().split('\u001b[2A').at(-1)).toBe('\r\u001b[Kaaa: Pull complete\n\u001b[J');
});
