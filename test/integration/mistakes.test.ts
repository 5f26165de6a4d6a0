/** What callers get wrong is refused before anything is made or changed. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Registry } from '../../src/app/registry.ts';
import { signatures as containers } from '../../src/app/signatures/containers.ts';
import { signatures as images } from '../../src/app/signatures/images.ts';
import { signatures as registry } from '../../src/app/signatures/registry.ts';
import { signatures as store } from '../../src/app/signatures/store.ts';
import { Layerstack } from '../../src/app/layerstack.ts';
import type { Parameter, Shape } from '../../src/core/arguments.ts';
import { rejection } from '../support/errors.ts';
import { TestStore, IMAGE } from '../support/test-store.ts';

type Method = (...values: unknown[]) => unknown;

let fixture: TestStore;

beforeAll(async () => {
  fixture = await TestStore.build();
  await fixture.store.containers.create(IMAGE, { name: 'room' });
});
afterAll(() => fixture[Symbol.asyncDispose]());

/** A value that a parameter takes. */
function sample(shape: Shape): unknown {
  if (typeof shape === 'string')
    return { string: 'room', number: 1, function: () => undefined }[shape as 'string'];
  if ('either' in shape) return sample(shape.either[0] ?? 'any');
  if ('list' in shape) return [];
  if ('object' in shape && shape.object === 'AsyncIterable') return (async function* () {})();
  return {};
}

/** Calls what `name` says: `Layerstack.open`, `store.images.load`, `new Registry`. */
async function call(name: string, values: readonly unknown[]): Promise<unknown> {
  if (name === 'new Registry') return Reflect.construct(Registry, values);
  const path = name.split('.');
  const method = path.pop() ?? '';
  const scope: object = { Layerstack, store: fixture.store };
  const owner = path.reduce((outer, key) => Reflect.get(outer, key) as object, scope);
  return (Reflect.get(owner, method) as Method).apply(owner, [...values]);
}

/** Names of everything below the root. */
const census = (): string =>
  createHash('sha256')
    .update(readdirSync(fixture.root, { recursive: true }).sort().join('\n'))
    .digest('hex');

const methods = [store, images, containers, registry].flatMap((file) => Object.entries(file().methods));
const withOptions = methods.flatMap(([name, { parameters }]) =>
  parameters.flatMap(({ shape, optional }, at) =>
    optional && typeof shape === 'object' && 'object' in shape ? [[name, parameters, at] as const] : [],
  ),
);

describe('a misspelt option', () => {
  it.each(withOptions)('of %s is refused', async (name, parameters: readonly Parameter[], at) => {
    const before = census();
    const values = parameters.map(({ shape }, index) => (index === at ? { signl: 1 } : sample(shape)));
    const error = await rejection(call(name, values));
    expect(error.message.startsWith(`${name}(): `)).toBe(true);
    expect(error).toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringMatching(
        /\(\): \w+ has no key "signl": (?:did you mean signal\?|it takes \w)/,
      ) as string,
    });
    expect(census()).toBe(before);
  });
});

describe('a missing argument', () => {
  const needing = methods.filter(([, { parameters }]) => parameters[0]?.optional !== true);

  it.each(needing)('of %s is refused', async (name, { parameters }) => {
    const before = census();
    await expect(call(name, [])).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      key: parameters[0]?.name,
      message: expect.stringContaining(`${parameters[0]?.name ?? ''} must be `) as string,
    });
    expect(census()).toBe(before);
  });
});

describe('open', () => {
  it.each([
    [{ rot: 'x' }, 'Layerstack.open(): options has no key "rot": did you mean root?'],
    ['x', 'Layerstack.open(): options must be an object (OpenOptions), not the string "x"'],
    [{ root: 5 }, 'Layerstack.open(): options.root must be a string, not the number 5'],
    [
      { root: 'x', readonly: true },
      'Layerstack.open(): options has no key "readonly": did you mean readOnly?',
    ],
    [
      { root: 'x', log: { warn: () => undefined } },
      'Layerstack.open(): options.log must be a Logger, not an object',
    ],
    [{ root: '' }, "the store's root is empty: use open({ root: '/var/lib/layerstack' })"],
  ])('%j makes no directory', async (options, message) => {
    const before = existsSync('/var/lib/layerstack');
    await expect(call('Layerstack.open', [options])).rejects.toMatchObject({
      ...{ name: 'LayerstackError', code: 'ERR_INVALID_ARGUMENT', kind: 'invalid', message },
    });
    expect([existsSync('/var/lib/layerstack'), existsSync('x')]).toEqual([before, false]);
  });
});

describe('a value of another type', () => {
  it.each([
    [
      'store.containers.commit',
      ['room', { name: 'app:1' }],
      'store.containers.commit(): options has no key "name": it takes author, message, ',
    ],
    ['store.containers.diff', [{}], 'store.containers.diff(): ref.id must be a string, not undefined'],
    [
      'store.containers.remove',
      [{ id: 'x' }],
      'store.containers.remove(): ref.name must be a string, not undefined',
    ],
    [
      'store.images.load',
      [Buffer.from('x')],
      'store.images.load(): source must be a string or an AsyncIterable, not an object',
    ],
    [
      'store.images.load',
      [['a.tar']],
      'store.images.load(): source must be a string or an AsyncIterable, not an array',
    ],
    [
      'store.images.list',
      ['app:1'],
      'store.images.list(): options must be an object (ListOptions), not the string "app:1"',
    ],
    [
      'store.containers.create',
      [IMAGE, { command: 'sh' }],
      'store.containers.create(): options.command must be an array, each member a string, not the string "sh"',
    ],
    [
      'store.containers.create',
      [IMAGE, { env: { A: 'b' } }],
      'store.containers.create(): options.env must be an array, each member a string, not an object',
    ],
    [
      'store.registry.pull',
      ['localhost:1/x', { signal: new AbortController() }],
      'store.registry.pull(): options.signal must be an AbortSignal, not an object',
    ],
    ['store.images.save', [[1]], 'store.images.save(): images[0] must be a string, not the number 1'],
    [
      'store.registry.push',
      ['localhost:1/x', { compression: 'xz' }],
      'store.registry.push(): options.compression must be "gzip" or "zstd", not the string "xz"',
    ],
  ])('%s(%j) is refused', async (name, values, message) => {
    const before = census();
    await expect(call(name, values)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT',
      message: expect.stringContaining(message) as string,
    });
    expect(census()).toBe(before);
  });
});
