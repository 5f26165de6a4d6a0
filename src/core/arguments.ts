/**
 * Checks the arguments that callers of the library pass in JavaScript, or in TypeScript with a cast. A method
 * refuses a misspelt option, or a value of another type, before it does anything. packaging/signatures.js
 * derives the signatures in app/signatures/ from the TypeScript types. This file compares values with them.
 */
import { LayerstackError } from './errors.ts';
import { nearest } from './nearest.ts';

type Primitive = 'string' | 'number' | 'bigint' | 'boolean' | 'function' | 'null';

/** The values that are allowed. {@link Parameter.optional} says whether `undefined` is one of them. */
export type Shape =
  | 'any'
  | Primitive
  /** One of these values. */
  | { readonly one: readonly (string | number | boolean)[] }
  | { readonly list: Shape }
  /** An object of any keys. */
  | { readonly map: Shape }
  | { readonly either: readonly Shape[] }
  /** A member of {@link Signatures.objects}. */
  | { readonly object: string };

/** An object with these keys and no others, or an object of any class that has these methods. */
export interface ObjectShape {
  readonly keys?: Readonly<Record<string, Shape>>;
  readonly required?: readonly string[];
  /** Well-known symbols are called `@@asyncIterator`. */
  readonly methods?: readonly string[];
}

export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly optional?: boolean;
}

export interface Signature {
  readonly parameters: readonly Parameter[];
  /** The method returns a promise, which a fault rejects. Without it, a fault throws. */
  readonly async?: boolean;
}

type Objects = Readonly<Record<string, ObjectShape>>;

export interface Signatures {
  readonly objects: Objects;
  /** The keys are the calls as callers write them: `Layerstack.open`, `store.images.load`, `new Registry`. */
  readonly methods: Readonly<Record<string, Signature>>;
}

/** A fault of a value. */
interface Fault {
  /** Keys and indices that lead to it. */
  readonly path: readonly (string | number)[];
  readonly expected: string;
  readonly found: string;
  /** The unknown key, and the keys that an object of this kind may have. */
  readonly unknown?: { readonly key: string; readonly known: readonly string[] };
}

/** How many characters of a value an error shows. */
const MAX_QUOTED = 64;

type Method = (this: unknown, ...values: unknown[]) => unknown;

/**
 * Gives the signatures when a method is first called. They are large, so a program that starts does not make
 * all of them.
 */
export type SignatureSource = () => Signatures;

/**
 * Makes methods check their arguments.
 * @param owner a class, for its static methods, or its prototype
 * @param path what callers write before the dot, e.g. `store.images`; `signatures` and errors use it to name
 *   the methods
 * @throws (the methods, or their promises) {@link LayerstackError} ERR_INVALID_ARGUMENT, with the key, what
 *   was expected, and the nearest known key.
 */
export function checkArguments(owner: object, path: string, signatures: SignatureSource): void {
  const source = remembered(signatures);
  for (const key of Object.getOwnPropertyNames(owner)) {
    const property = Object.getOwnPropertyDescriptor(owner, key);
    if (key === 'constructor' || typeof property?.value !== 'function') continue;
    const value = checked(`${path}.${key}`, property.value as Method, source);
    Object.defineProperty(owner, key, { ...property, value });
  }
}

function checked(name: string, method: Method, signatures: SignatureSource): Method {
  const check: Method = function (this: unknown, ...values) {
    const { methods, objects } = signatures();
    const signature = methods[name];
    const error = signature && argumentError(name, signature, values, objects);
    if (error === undefined) return method.apply(this, values);
    if (signature?.async) return Promise.reject(error);
    throw error;
  };
  return Object.defineProperties(check, { name: { value: method.name }, length: { value: method.length } });
}

function remembered(signatures: SignatureSource): SignatureSource {
  let known: Signatures | undefined;
  return () => (known ??= signatures());
}

/** Returns an asynchronous function that checks its arguments before it calls `work`. */
export function checkedFunction<Work extends (...values: never[]) => Promise<unknown>>(
  name: string,
  work: Work,
  signatures: SignatureSource,
): Work {
  return checked(name, work as unknown as Method, remembered(signatures)) as unknown as Work;
}

/**
 * Checks the arguments of a constructor.
 * @param name as `signatures` has it, e.g. `new Registry`
 * @throws {@link LayerstackError} ERR_INVALID_ARGUMENT.
 */
export function requireArguments(
  name: string,
  values: readonly unknown[],
  { methods, objects }: Signatures,
): void {
  const signature = methods[name];
  const error = signature && argumentError(name, signature, values, objects);
  if (error) throw error;
}

function argumentError(
  method: string,
  { parameters }: Signature,
  values: readonly unknown[],
  objects: Objects,
): LayerstackError | undefined {
  let index = 0;
  for (const { name, shape, optional = false } of parameters) {
    const value = values[index++];
    if (value === undefined && optional) continue;
    const fault = faultOf(value, shape, objects);
    if (fault) return invalidArgument(method, name, fault);
  }
  return undefined;
}

function invalidArgument(method: string, parameter: string, fault: Fault): LayerstackError {
  const { path, expected, found, unknown } = fault;
  const key = path.reduce<string>(
    (text, part) => text + (typeof part === 'number' ? `[${part}]` : `.${part}`),
    parameter,
  );
  if (unknown === undefined)
    return new LayerstackError(
      'ERR_INVALID_ARGUMENT',
      `${method}(): ${key} must be ${expected}, not ${found}`,
      {
        key,
        expected,
        found,
      },
    );
  const near = nearest(unknown.key, unknown.known);
  const advice = near === undefined ? `it takes ${unknown.known.join(', ')}` : `did you mean ${near}?`;
  return new LayerstackError(
    'ERR_INVALID_ARGUMENT',
    `${method}(): ${key} has no key ${JSON.stringify(unknown.key)}: ${advice}`,
    { key: `${key}.${unknown.key}`, expected: near ?? unknown.known.join(', '), nearest: near },
  );
}

/**
 * Returns the first fault of a value, or undefined. It builds texts only for faults, so checking a valid
 * value is cheap.
 */
function faultOf(value: unknown, shape: Shape, objects: Objects): Fault | undefined {
  if (shape === 'any') return undefined;
  const wrong = (): Fault => ({ path: [], expected: describe(shape, objects), found: kindOf(value) });
  if (typeof shape === 'string') return isA(value, shape) ? undefined : wrong();
  if ('one' in shape) return (shape.one as readonly unknown[]).includes(value) ? undefined : wrong();
  if ('either' in shape) return faultOfEither(value, shape.either, objects, wrong);
  if ('list' in shape) {
    if (!Array.isArray(value)) return wrong();
    for (let index = 0; index < value.length; index++) {
      const fault = faultOf(value[index], shape.list, objects);
      if (fault) return below(index, fault);
    }
    return undefined;
  }
  if (!isObject(value)) return wrong();
  if ('map' in shape) {
    for (const key of Object.keys(value)) {
      const fault = faultOf(value[key], shape.map, objects);
      if (fault) return below(key, fault);
    }
    return undefined;
  }
  return faultOfObject(value, objects[shape.object] ?? {}, objects, wrong);
}

function faultOfEither(
  value: unknown,
  shapes: readonly Shape[],
  objects: Objects,
  wrong: () => Fault,
): Fault | undefined {
  const faults: Fault[] = [];
  for (const shape of shapes) {
    const fault = faultOf(value, shape, objects);
    if (fault === undefined) return undefined;
    faults.push(fault);
  }
  // A fault inside one alternative says more than "none of these", because that alternative was probably
  // meant.
  return faults.find((fault) => fault.path.length > 0 || fault.unknown !== undefined) ?? wrong();
}

function faultOfObject(
  value: Readonly<Record<PropertyKey, unknown>>,
  { keys = {}, required = [], methods }: ObjectShape,
  objects: Objects,
  wrong: () => Fault,
): Fault | undefined {
  if (methods)
    return methods.every((name) => typeof value[symbolOf(name)] === 'function') ? undefined : wrong();
  for (const key of Object.keys(value))
    if (!Object.hasOwn(keys, key)) return { ...wrong(), unknown: { key, known: Object.keys(keys) } };
  for (const key of Object.keys(keys)) {
    const member = value[key];
    if (member === undefined && !required.includes(key)) continue;
    const fault = faultOf(member, keys[key] ?? 'any', objects);
    if (fault) return below(key, fault);
  }
  return undefined;
}

/** Returns the fault of a member, with the path to it. */
function below(key: string | number, fault: Fault): Fault {
  return { ...fault, path: [key, ...fault.path] };
}

function isA(value: unknown, type: Primitive): boolean {
  if (type === 'null') return value === null;
  return typeof value === type && !Number.isNaN(value);
}

function isObject(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function symbolOf(name: string): string | symbol {
  return name.startsWith('@@') ? (Symbol[name.slice(2) as 'asyncIterator'] as symbol) : name;
}

const WORDS: Readonly<Record<Primitive, string>> = {
  string: 'a string',
  number: 'a number',
  bigint: 'a bigint',
  boolean: 'true or false',
  function: 'a function',
  null: 'null',
};

function describe(shape: Shape, objects: Objects): string {
  if (shape === 'any') return 'anything';
  if (typeof shape === 'string') return WORDS[shape];
  if ('one' in shape) return shape.one.map((one) => JSON.stringify(one)).join(' or ');
  if ('either' in shape) return shape.either.map((one) => describe(one, objects)).join(' or ');
  if ('list' in shape) return `an array, each member ${describe(shape.list, objects)}`;
  if ('map' in shape) return `an object, each value ${describe(shape.map, objects)}`;
  const { object: name } = shape;
  if (objects[name]?.methods) return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
  return /^[A-Z]/.test(name) ? `an object (${name})` : 'an object';
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined || Number.isNaN(value)) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string')
    return value === '' ? 'an empty string' : `the string ${JSON.stringify(value.slice(0, MAX_QUOTED))}`;
  return typeof value === 'function' ? 'a function' : `the ${typeof value} ${String(value)}`;
}
