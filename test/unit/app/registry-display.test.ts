import { describe, expect, it } from 'vitest';
import { barLines, LayerBars, type LayerLine } from '../../../src/app/cli/layer-bars.ts';
import { PULL_WORDS } from '../../../src/app/cli/pull-words.ts';
import { PUSH_WORDS } from '../../../src/app/cli/push-words.ts';
import {
  RegistryDisplay,
  type RegistryDisplayOptions,
  type Words,
} from '../../../src/app/cli/registry-display.ts';
import { Output } from '../../../src/app/cli/terminal.ts';
import type { ProgressEvent } from '../../../src/core/progress.ts';
import type { Digest } from '../../../src/core/digest.ts';

const line = (rank: LayerLine['rank'], phase: string, current = 0): LayerLine => ({
  ...{ rank, phase, current, total: 2000 },
});

/** A terminal that is written to. */
class Terminal {
  readonly isTTY: boolean;
  readonly rows = 4;
  readonly columns = 100;
  text = '';

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): boolean {
    this.text += text;
    return true;
  }

  get output(): Output {
    return new Output(this as unknown as NodeJS.WriteStream);
  }
}

/** Returns the lines that are printed, and the text on the terminal, for these events. */
function say(
  events: readonly ProgressEvent[],
  words: Words,
  isTTY: boolean,
  options: RegistryDisplayOptions,
): [string[], string] {
  const terminal = new Terminal(isTTY);
  const printed: string[] = [];
  const print = (...lines: string[]) => void printed.push(...lines);
  const display = new RegistryDisplay({ print, stderr: terminal.output }, words, options);
  for (const event of events) display.show(event);
  display.end();
  return [printed, terminal.text];
}

describe('bars', () => {
  it('show the progress of layers at work', () => {
    const layers = new Map([
      ['aaa', line(0, 'Downloading', 1000)],
      ['bbb', line(1, 'Pulling fs layer')],
      ['ccc', line(2, 'Pull complete', 2000)],
    ]);
    expect(barLines(layers, 10)).toEqual([
      `aaa: Downloading [${'='.repeat(15)}>${' '.repeat(14)}]  1kB/2kB`,
      'bbb: Pulling fs layer',
      'ccc: Pull complete',
    ]);
  });

  it('fit the terminal, with layers at work first', () => {
    const layers = new Map(
      Array.from({ length: 50 }, (_, index) => [
        `layer${String(index)}`,
        index === 40 ? line(0, 'Extracting', 2000) : line(index < 20 ? 2 : 1, 'x'),
      ]),
    );
    const lines = barLines(layers, 3);
    expect(lines).toHaveLength(3);
    expect(lines[1]).toContain('layer40: Extracting');
    expect(lines[2]).toBe('and 48 more layers: 20 done, 28 waiting');
  });

  it('are drawn in place', () => {
    const terminal = new Terminal(true);
    const bars = new LayerBars(terminal.output);
    bars.set('a', line(0, 'Downloading'));
    bars.set('b', line(0, 'Downloading'));
    bars.finish();
    expect(terminal.text).toContain('\u001b[1A\r\u001b[Ka: ');
    expect(terminal.text.endsWith('\n\u001b[J')).toBe(true);
    bars.clear();
    expect(terminal.text.endsWith('\n\u001b[J')).toBe(true);
  });
});

describe('the output of a pull', () => {
  const blob = `sha256:${'ab'.repeat(32)}` as Digest;
  const layer = { blob, member: blob, current: 0, total: 10 };
  const events: ProgressEvent[] = [
    { type: 'pulling', reference: 'x:1', repository: 'library/x', id: '1' },
    { type: 'layer-waiting', ...layer },
    { type: 'layer-start', ...layer },
    { type: 'layer-progress', ...layer, current: 5, phase: 'downloading' },
    { type: 'layer-retry', ...layer, current: 5, delayMs: 1500, message: 'reset' },
    { type: 'layer-progress', ...layer, current: 7, phase: 'downloading' },
    { type: 'layer-progress', ...layer, current: 10, phase: 'extracting' },
    { type: 'layer-done', ...layer, current: 10 },
    { type: 'pulled', reference: 'x:1', digest: blob, id: blob as never, updated: true },
  ];

  const said = (isTTY: boolean, options: RegistryDisplayOptions) => say(events, PULL_WORDS, isTTY, options);

  it('is a line for each phase without a terminal', () => {
    const [printed, text] = said(false, { json: false, quiet: false });
    expect(printed).toEqual(['1: Pulling from library/x', `Digest: ${blob}`]);
    expect(text.trimEnd().split('\n')).toEqual(
      [
        'Pulling fs layer',
        'Downloading',
        'Retrying in 1.5 seconds: reset',
        'Downloading',
        'Extracting',
        'Pull complete',
      ].map((phase) => `abababababab: ${phase}`),
    );
  });

  it('is bars on a terminal, an event a line as JSON, nothing when quiet', () => {
    expect(said(true, { json: false, quiet: false })[1]).toContain('abababababab: Pull complete\n');
    const [printed, text] = said(true, { json: true, quiet: false });
    expect([printed.length, text]).toEqual([events.length - 1, '']);
    expect(said(true, { json: false, quiet: true })).toEqual([[], '']);
  });
});

describe('the output of a push', () => {
  const digest = `sha256:${'cd'.repeat(32)}` as Digest;
  const layer = (name: string) => ({ diffId: `sha256:${name.repeat(32)}` as never, current: 0, total: 10 });
  const events: ProgressEvent[] = [
    { type: 'pushing', reference: 'h:5/x:1', repository: 'h:5/x' },
    ...['aa', 'bb', 'cc'].map((name) => ({ type: 'layer-preparing' as const, ...layer(name) })),
    { type: 'layer-waiting', ...layer('cc') },
    { type: 'layer-start', ...layer('aa') },
    { type: 'layer-progress', ...layer('aa'), current: 5 },
    { type: 'layer-exists', ...layer('bb') },
    { type: 'layer-mounted', ...layer('cc'), from: 'y' },
    { type: 'layer-done', ...layer('aa'), current: 10 },
    { type: 'warning', code: 'X', message: 'careful' },
    { type: 'pushed', reference: 'h:5/x:1', id: digest as never, digest, size: 123 },
  ];
  const said = (isTTY: boolean, options: RegistryDisplayOptions) => say(events, PUSH_WORDS, isTTY, options);
  const head = 'The push refers to repository [h:5/x]';

  it("is docker's lines without a terminal, and leaves out running phases", () => {
    const [printed, text] = said(false, { json: false, quiet: false });
    expect(printed).toEqual([head, `1: digest: ${digest} size: 123`]);
    expect(text.trimEnd().split('\n')).toEqual([
      'aaaaaaaaaaaa: Preparing',
      'bbbbbbbbbbbb: Preparing',
      'cccccccccccc: Preparing',
      'cccccccccccc: Waiting',
      'bbbbbbbbbbbb: Layer already exists',
      'cccccccccccc: Mounted from y',
      'aaaaaaaaaaaa: Pushed',
      'layerstack: warning: careful',
    ]);
  });

  it('is bars on a terminal, an event a line as JSON, only warnings when quiet', () => {
    const [printed, text] = said(true, { json: false, quiet: false });
    expect(printed).toHaveLength(2);
    expect(text).toContain('aaaaaaaaaaaa: Pushed\n');
    expect(said(true, { json: true, quiet: false })[0]).toEqual(events.map((event) => JSON.stringify(event)));
    expect(said(true, { json: false, quiet: true })).toEqual([[], 'layerstack: warning: careful\n']);
  });
});
