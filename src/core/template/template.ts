/**
 * Go's text/template with docker's functions, for `--format`. A template is parsed once and executed for each
 * listed object. Templates can loop only over their input, and the depth and the output of an execution are
 * bounded. Mirrors golang/go: src/text/template/exec.go.
 */
import { TemplateError } from './error.ts';
import { FUNCTIONS, HEADER_FUNCTIONS, type Kind, type TemplateFunction } from './functions.ts';
import { parse, type Node, type Operand, type Pipe, type Tree } from './parser.ts';
import { isStruct, isTrue, Nil, show, sorted, typeName } from './values.ts';

/** How deep `{{template}}` may call itself. */
const MAX_CALLS = 500;
/** How many characters one execution may write. */
const MAX_OUTPUT = 1 << 26;

const NAMES: ReadonlySet<string> = new Set(Object.keys(FUNCTIONS));
const LEFT_OUT = new Set(['and', 'or']);

export class Template {
  readonly #tree: Tree;

  /** @throws TemplateError for a malformed template. */
  constructor(text: string) {
    this.#tree = parse(text, NAMES);
  }

  /** @throws TemplateError where a field is missing, or a function gets an argument of a wrong type. */
  execute(data: unknown): string {
    return new Execution(this.#tree, FUNCTIONS).run(data);
  }

  /**
   * Returns the header of a table, with the names of the fields in their places. A failure ends the header,
   * as in docker.
   */
  header(names: Readonly<Record<string, string>>): string {
    const execution = new Execution(this.#tree, HEADER_FUNCTIONS);
    try {
      return execution.run(new Map(Object.entries(names)));
    } catch (error) {
      if (error instanceof TemplateError) return execution.written;
      throw error;
    }
  }
}

type Flow = 'break' | 'continue' | undefined;

interface Variable {
  readonly name: string;
  value: unknown;
}

class Execution {
  readonly #tree: Tree;
  readonly #functions: Readonly<Record<string, TemplateFunction>>;
  #variables: Variable[] = [];
  #calls = 0;
  #parts: string[] = [];
  #length = 0;

  constructor(tree: Tree, functions: Readonly<Record<string, TemplateFunction>>) {
    this.#tree = tree;
    this.#functions = functions;
  }

  get written(): string {
    return this.#parts.join('');
  }

  run(data: unknown): string {
    this.#variables = [{ name: '$', value: data }];
    this.#walk(this.#tree.body, data);
    return this.written;
  }

  #write(text: string): void {
    this.#length += text.length;
    if (this.#length > MAX_OUTPUT)
      throw new TemplateError(`template: the output exceeds ${MAX_OUTPUT} characters`);
    this.#parts.push(text);
  }

  #walk(nodes: readonly Node[], dot: unknown): Flow {
    for (const node of nodes) {
      switch (node.kind) {
        case 'text':
          this.#write(node.text);
          break;
        case 'action': {
          const value = this.#pipe(dot, node.pipe);
          if (node.pipe.variables.length === 0) this.#write(this.#printable(value, node.pipe));
          break;
        }
        case 'break':
        case 'continue':
          return node.kind;
        case 'template':
          this.#template(node, dot);
          break;
        case 'if':
        case 'with':
        case 'range': {
          const known = this.#variables.length;
          const flow = this.#block(node, dot);
          this.#variables.length = known;
          if (flow) return flow;
        }
      }
    }
    return undefined;
  }

  #printable(value: unknown, { commands }: Pipe): string {
    if (value === undefined || value === null) return '<no value>';
    const first = commands.at(-1)?.operands[0];
    if (typeof value === 'function' && first) this.#fail(first, `can't print ${first.text} of type func()`);
    return show(value);
  }

  #template({ name, pipe, at }: Node & { kind: 'template' }, dot: unknown): void {
    const body = this.#tree.defined.get(name);
    const here = { at, text: `{{template ${JSON.stringify(name)}}}` };
    if (!body) return this.#fail(here, `template ${JSON.stringify(name)} not defined`);
    if (++this.#calls > MAX_CALLS) this.#fail(here, `exceeded maximum template depth (${MAX_CALLS})`);
    const value = pipe && this.#pipe(dot, pipe);
    const variables = this.#variables;
    this.#variables = [{ name: '$', value }];
    this.#walk(body, value);
    this.#variables = variables;
    this.#calls--;
  }

  #block({ kind, pipe, body, otherwise }: Node & { kind: 'if' | 'with' | 'range' }, dot: unknown): Flow {
    if (kind === 'range') return this.#range(pipe, body, otherwise, dot);
    const value = this.#pipe(dot, pipe);
    if (isTrue(value)) return this.#walk(body, kind === 'with' ? value : dot);
    return this.#walk(otherwise, dot);
  }

  #range(pipe: Pipe, body: readonly Node[], otherwise: readonly Node[], dot: unknown): Flow {
    const value = this.#commands(dot, pipe);
    const entries = this.#entries(value, pipe);
    const known = this.#variables.length;
    if (!pipe.assigns) this.#variables.push(...pipe.variables.map((name) => ({ name, value: undefined })));
    const own = this.#variables.length;
    let some = false;
    for (const [key, item] of entries) {
      some = true;
      const given = pipe.variables.length === 2 ? [key, item] : [item];
      pipe.variables.forEach((name, at) => this.#set(name, given[at]));
      const flow = this.#walk(body, item);
      this.#variables.length = own;
      if (flow === 'break') break;
    }
    this.#variables.length = known;
    return some ? undefined : this.#walk(otherwise, dot);
  }

  #entries(value: unknown, { commands }: Pipe): Iterable<readonly [unknown, unknown]> {
    if (Array.isArray(value)) return value.entries();
    if (value instanceof Map) return sorted(value as Map<string, unknown>);
    if (value === undefined || value === null || (value instanceof Nil && value.of !== 'pointer')) return [];
    if (typeof value === 'number' && Number.isInteger(value)) return count(value);
    const operand = commands[0]?.operands[0] ?? { at: 0, text: '' };
    return this.#fail(operand, `range can't iterate over ${show(value)}`);
  }

  #set(name: string, value: unknown): void {
    const variable = this.#variables.findLast((each) => each.name === name);
    if (variable) variable.value = value;
  }

  #pipe(dot: unknown, pipe: Pipe): unknown {
    const value = this.#commands(dot, pipe);
    for (const name of pipe.variables)
      if (pipe.assigns) this.#set(name, value);
      else this.#variables.push({ name, value });
    return value;
  }

  #commands(dot: unknown, { commands }: Pipe): unknown {
    return commands.reduce<{ readonly value: unknown }[]>(
      (last, { operands: [first, ...args] }) => [{ value: this.#command(dot, first, args, last) }],
      [],
    )[0]?.value;
  }

  /** `last`: the value that the previous command has piped into this one, if any. */
  #command(
    dot: unknown,
    first: Operand,
    args: readonly Operand[],
    last: readonly { readonly value: unknown }[],
  ): unknown {
    const rest = (): unknown[] => [
      ...args.map((arg) => this.#value(dot, arg)),
      ...last.map(({ value }) => value),
    ];
    switch (first.kind) {
      case 'function':
        return this.#call(dot, first, args, last);
      case 'field':
        return this.#fields(dot, first.names, first, rest);
      case 'variable':
        if (first.names.length > 0) return this.#fields(this.#variable(first.name), first.names, first, rest);
        break;
      case 'chain':
        return this.#fields(this.#value(dot, first.of), first.names, first, rest);
      case 'nil':
        return this.#fail(first, 'nil is not a command');
      case 'dot':
      case 'literal':
      case 'pipe':
        break;
    }
    if (args.length > 0 || last.length > 0)
      this.#fail(first, `can't give argument to non-function ${first.text}`);
    return this.#value(dot, first);
  }

  #value(dot: unknown, operand: Operand): unknown {
    switch (operand.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return null;
      case 'literal':
        return operand.value;
      case 'variable':
        return this.#fields(this.#variable(operand.name), operand.names, operand, () => []);
      case 'field':
        return this.#fields(dot, operand.names, operand, () => []);
      case 'chain':
        return this.#fields(this.#value(dot, operand.of), operand.names, operand, () => []);
      case 'pipe':
        return this.#pipe(dot, operand.pipe);
      case 'function':
        return this.#call(dot, operand, [], []);
    }
  }

  #variable(name: string): unknown {
    return this.#variables.findLast((each) => each.name === name)?.value;
  }

  #fields(value: unknown, names: readonly string[], at: Operand, args: () => unknown[]): unknown {
    return names.reduce((item, name, index) => {
      const field = this.#field(item, name, at);
      const given = index === names.length - 1 ? args() : [];
      if (typeof field === 'function')
        return this.#method(field as (...all: unknown[]) => unknown, name, given, at);
      if (given.length > 0) this.#fail(at, `${name} is not a method but has arguments`);
      return field;
    }, value);
  }

  #method(call: (...all: unknown[]) => unknown, name: string, args: unknown[], at: Operand): unknown {
    if (args.length !== call.length)
      this.#fail(at, `wrong number of args for ${name}: want ${call.length} got ${args.length}`);
    for (const each of args) this.#check('string', each, at);
    return call(...args);
  }

  #field(value: unknown, name: string, at: Operand): unknown {
    if (value instanceof Map) return value.get(name) as unknown;
    if (isStruct(value) && Object.hasOwn(value, name)) return value[name];
    if (value === undefined) return this.#fail(at, `nil data; no entry for key ${JSON.stringify(name)}`);
    if (value === null) return this.#fail(at, `nil pointer evaluating interface {}.${name}`);
    if (value instanceof Nil) {
      if (value.of === 'map') return undefined;
      if (value.of === 'pointer') return this.#fail(at, `nil pointer evaluating ${typeName(value)}.${name}`);
    }
    return this.#fail(at, `can't evaluate field ${name} in type ${typeName(value)}`);
  }

  #call(
    dot: unknown,
    operand: Operand & { kind: 'function' },
    args: readonly Operand[],
    last: readonly { readonly value: unknown }[],
  ): unknown {
    const { name } = operand;
    const called = this.#functions[name];
    if (!called) return this.#fail(operand, `function ${JSON.stringify(name)} not defined`);
    const { parameters, rest } = called;
    const given = args.length + last.length;
    if (rest === undefined ? given !== parameters.length : given < parameters.length)
      this.#fail(
        operand,
        `wrong number of args for ${name}: want ${rest ? 'at least ' : ''}${parameters.length} got ${given}`,
      );
    const values: unknown[] = [];
    for (const arg of args) {
      const value = this.#value(dot, arg);
      values.push(value);
      // The other arguments are skipped, because they might fail: {{if and .Config .Config.Labels}}.
      if (LEFT_OUT.has(name) && isTrue(value) === (name === 'or')) return value;
    }
    values.push(...last.map(({ value }) => value));
    values.forEach((value, index) =>
      this.#check(parameters[index] ?? rest ?? 'any', value, args[index] ?? operand),
    );
    const plain = values.map((value) =>
      value instanceof Nil && value.of === 'slice' && parameters[0] === 'strings' ? [] : value,
    );
    try {
      return called.call(...(plain as never[]));
    } catch (error) {
      // The message names the whole command, not only the function.
      const text = [operand, ...args].map((each) => each.text).join(' ');
      return this.#fail({ at: operand.at, text }, `error calling ${name}: ${(error as Error).message}`);
    }
  }

  #check(kind: Kind, value: unknown, at: Operand): void {
    const good =
      kind === 'any' ||
      (kind === 'string' && typeof value === 'string') ||
      (kind === 'int' && typeof value === 'number' && Number.isInteger(value)) ||
      (kind === 'strings' &&
        ((Array.isArray(value) && value.every((each) => typeof each === 'string')) ||
          (value instanceof Nil && value.of === 'slice')));
    if (good) return;
    const expected = kind === 'strings' ? '[]string' : kind;
    if (value === undefined) this.#fail(at, `invalid value; expected ${expected}`);
    if (at.kind === 'literal') this.#fail(at, `expected ${expected}; found ${at.text}`);
    this.#fail(at, `wrong type for value; expected ${expected}; got ${typeName(value)}`);
  }

  #fail({ at, text }: Pick<Operand, 'at' | 'text'>, what: string): never {
    const before = this.#tree.source.slice(0, at).split('\n');
    const shown = [...text].length > 20 ? `${[...text].slice(0, 20).join('')}...` : text;
    throw new TemplateError(
      `template: :${before.length}:${Buffer.byteLength(before.at(-1) ?? '')}: executing "" at <${shown}>: ${what}`,
    );
  }
}

function* count(to: number): Generator<readonly [unknown, unknown]> {
  for (let at = 0; at < to; at++) yield [at, at];
}
