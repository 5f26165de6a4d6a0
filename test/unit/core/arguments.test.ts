import { describe, expect, it } from 'vitest';
import {
  checkArguments,
  requireArguments,
  type Shape,
  type Signatures,
} from '../../../src/core/arguments.ts';
import { nearest } from '../../../src/core/nearest.ts';

const signatures: Signatures = {
  methods: {
    'new Door': { parameters: [{ name: 'name', shape: 'string' }] },
    'Door.find': { parameters: [{ name: 'name', shape: 'string' }], async: true },
    'door.open': {
      parameters: [{ name: 'options', shape: { object: 'OpenOptions' }, optional: true }],
      async: true,
    },
    'door.knock': { parameters: [{ name: 'times', shape: 'number' }] },
  },
  objects: {
    OpenOptions: {
      keys: {
        width: 'number',
        colour: { one: ['red', 'green'] },
        signal: { object: 'AbortSignal' },
        frame: { object: 'Frame' },
        words: { either: ['string', { list: 'string' }] },
        labels: { map: 'string' },
        next: { object: 'OpenOptions' },
      },
    },
    Frame: { keys: { wood: 'string', nails: 'number' }, required: ['wood'] },
    AbortSignal: { methods: ['addEventListener'] },
  },
};

class Door {
  opened = 0;
  readonly name: string;

  constructor(name: string) {
    requireArguments('new Door', [name], signatures);
    this.name = name;
  }

  static find(name: string): Promise<Door> {
    return Promise.resolve(new this(name));
  }

  open(options: object = {}): Promise<object> {
    this.opened++;
    return Promise.resolve(options);
  }

  knock(times: number): number {
    return times + this.name.length;
  }

  static {
    checkArguments(this, 'Door', () => signatures);
    checkArguments(this.prototype, 'door', () => signatures);
  }
}

const refusals: readonly [what: string, options: unknown, message: string, facts: object][] = [
  [
    'an unknown key',
    { widht: 1 },
    'door.open(): options has no key "widht": did you mean width?',
    { key: 'options.widht', nearest: 'width' },
  ],
  [
    'an unknown key that is like none',
    { handle: 1 },
    'door.open(): options has no key "handle": it takes width, colour, signal, frame, words, labels, next',
    { key: 'options.handle' },
  ],
  [
    'an unknown key without a value',
    { widht: undefined },
    'door.open(): options has no key "widht": did you mean width?',
    {},
  ],
  [
    'another type',
    { width: '1' },
    'door.open(): options.width must be a number, not the string "1"',
    { key: 'options.width', expected: 'a number', found: 'the string "1"' },
  ],
  ['NaN', { width: NaN }, 'door.open(): options.width must be a number, not NaN', {}],
  ['null', { width: null }, 'door.open(): options.width must be a number, not null', {}],
  [
    'another word',
    { colour: 'blue' },
    'door.open(): options.colour must be "red" or "green", not the string "blue"',
    {},
  ],
  [
    'an object in the place of a signal',
    { signal: {} },
    'door.open(): options.signal must be an AbortSignal, not an object',
    {},
  ],
  [
    'a key inside',
    { frame: { wood: 'oak', nail: 1 } },
    'door.open(): options.frame has no key "nail": did you mean nails?',
    { key: 'options.frame.nail' },
  ],
  [
    'a missing key inside',
    { frame: {} },
    'door.open(): options.frame.wood must be a string, not undefined',
    {},
  ],
  [
    'a member of a list',
    { words: ['a', 1] },
    'door.open(): options.words[1] must be a string, not the number 1',
    { key: 'options.words[1]' },
  ],
  [
    'none of several types',
    { words: 1 },
    'door.open(): options.words must be a string or an array, each member a string, not the number 1',
    {},
  ],
  [
    'a value of a map',
    { labels: { a: 1 } },
    'door.open(): options.labels.a must be a string, not the number 1',
    {},
  ],
  [
    'an array for an object',
    { labels: [] },
    'door.open(): options.labels must be an object, each value a string, not an array',
    {},
  ],
  [
    'a mistake far inside',
    { next: { next: { width: true } } },
    'door.open(): options.next.next.width must be a number, not the boolean true',
    {},
  ],
  [
    'text for options',
    '/path',
    'door.open(): options must be an object (OpenOptions), not the string "/path"',
    {},
  ],
  ['null for options', null, 'door.open(): options must be an object (OpenOptions), not null', {}],
  [
    'a function for options',
    () => 1,
    'door.open(): options must be an object (OpenOptions), not a function',
    {},
  ],
  [
    'a long text',
    { width: 'x'.repeat(1000) },
    `door.open(): options.width must be a number, not the string "${'x'.repeat(64)}"`,
    {},
  ],
];

describe('arguments', () => {
  it.each(refusals)('refuse %s, before the method begins', async (_, options, message, facts) => {
    const door = new Door('front');
    await expect(door.open(options as object)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message,
      ...facts,
    });
    expect(door.opened).toBe(0);
  });

  it.each([
    [{}],
    [undefined],
    [{ width: 0, colour: 'red', words: [], labels: {} }],
    [{ width: undefined, signal: new AbortController().signal, words: 'a', frame: { wood: 'oak' } }],
    [Object.assign(Object.create(null) as object, { width: 1 })],
  ])('take %j', async (options) => {
    await expect(new Door('front').open(options)).resolves.toEqual(options ?? {});
  });

  it('are required unless they are optional', async () => {
    await expect((Door.find as () => Promise<Door>)()).rejects.toThrow(
      'Door.find(): name must be a string, not undefined',
    );
    expect(() => (new Door('a').knock as () => number)()).toThrow(
      'door.knock(): times must be a number, not undefined',
    );
    expect(() => new Door(1 as unknown as string)).toThrow(
      'new Door(): name must be a string, not the number 1',
    );
  });

  it('leave methods as they are: this, name, length', async () => {
    expect((await Door.find('ab')).knock(1)).toBe(3);
    expect([Door.prototype.knock.name, Door.prototype.knock.length]).toEqual(['knock', 1]);
  });

  it('are described for every kind of shape', () => {
    const shapes: Shape[] = [
      'bigint',
      'boolean',
      'function',
      'null',
      { either: ['null', { list: 'bigint' }] },
    ];
    const described = shapes.map((shape) => {
      const shapeOf = { of: (value: unknown) => value };
      const methods = { 'shape.of': { parameters: [{ name: 'it', shape }] } };
      checkArguments(shapeOf, 'shape', () => ({ objects: {}, methods }));
      try {
        return shapeOf.of(Symbol('s'));
      } catch (error) {
        return (error as Error).message;
      }
    });
    expect(described).toEqual([
      'shape.of(): it must be a bigint, not the symbol Symbol(s)',
      'shape.of(): it must be true or false, not the symbol Symbol(s)',
      'shape.of(): it must be a function, not the symbol Symbol(s)',
      'shape.of(): it must be null, not the symbol Symbol(s)',
      'shape.of(): it must be null or an array, each member a bigint, not the symbol Symbol(s)',
    ]);
  });
});

describe('the nearest word', () => {
  it.each([
    ['rot', ['root', 'log'], 'root'],
    ['laod', ['load', 'save'], 'load'],
    ['Maxbytes', ['maxBytes'], 'maxBytes'],
    ['readonly', ['readOnly', 'root'], 'readOnly'],
    ['plaform', ['platform', 'signal'], 'platform'],
    ['name', ['author', 'message', 'reference'], undefined],
    ['x', [], undefined],
    ['', ['a', 'root'], 'a'],
  ])('of %s', (typed, words, expected) => {
    expect(nearest(typed, words)).toBe(expected);
  });
});
