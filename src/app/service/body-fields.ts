/**
 * Bodies of layerstack's own routes. Each field is declared once: the declaration yields its decoder and its
 * description (JSON Schema, as OpenAPI 3.1 uses it). Unlike docker's routes, these refuse unknown keys.
 */
import * as json from '../../core/json.ts';
import type { ApiRequest } from './request.ts';

export type Schema = Readonly<Record<string, unknown>>;

export interface Field<T> {
  readonly decode: json.Decoder<T>;
  readonly schema: Schema;
  readonly required: boolean;
}

export interface Body<T> {
  readonly decode: json.Decoder<T>;
  readonly schema: Schema;
  /** A request may omit the body, because no field is required. */
  readonly optional: boolean;
}

/** True or false; false if the key is missing. */
export function flag(description: string): Field<boolean> {
  return {
    decode: json.withDefault(json.boolean, false),
    schema: { type: ['boolean', 'null'], default: false, description },
    required: false,
  };
}

/** True, false, or undefined if the key is missing. */
export function choice(description: string): Field<boolean | undefined> {
  return optionalField(json.boolean, { type: 'boolean' }, description);
}

export function text(description: string): Field<string | undefined> {
  return optionalField(json.string, { type: 'string' }, description);
}

export function texts(description: string): Field<string[] | undefined> {
  return optionalField(json.array(json.string), { type: 'array', items: { type: 'string' } }, description);
}

/** A whole number from 1 to `maximum`, or undefined if the key is missing. */
export function count(maximum: number, description: string): Field<number | undefined> {
  const decode: json.Decoder<number> = (value, path) => {
    const given = json.integer(value, path);
    return given >= 1 && given <= maximum ? given : json.mismatch(path, `must be from 1 to ${maximum}`);
  };
  return optionalField(decode, { type: 'integer', minimum: 1, maximum }, description);
}

/** Names with texts. */
export function labels(description: string): Field<Record<string, string> | undefined> {
  const decode: json.Decoder<Record<string, string>> = (value, path) =>
    Object.fromEntries(json.map(json.string)(value, path));
  const schema = { type: 'object', additionalProperties: { type: 'string' } };
  return optionalField(decode, schema, description);
}

/** An absolute path of the host. It is required. */
export function hostPath(description: string): Field<string> {
  const decode: json.Decoder<string> = (value, path) => {
    const given = json.string(value, path);
    return given.startsWith('/')
      ? given
      : json.mismatch(path, `must be an absolute path, not ${JSON.stringify(given)}`);
  };
  return { decode, schema: { type: 'string', pattern: '^/', description }, required: true };
}

function optionalField<T>(
  decode: json.Decoder<T>,
  schema: Schema & { readonly type: string },
  description: string,
): Field<T | undefined> {
  return {
    decode: json.optional(decode),
    schema: { ...schema, type: [schema.type, 'null'], description },
    required: false,
  };
}

/** An object with these fields and no others. */
export function body<const F extends Record<string, Field<unknown>>>(
  fields: F,
): Body<{ readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never }> {
  const entries = Object.entries(fields);
  const required = entries.filter(([, field]) => field.required).map(([name]) => name);
  const decoders = Object.fromEntries(entries.map(([name, { decode }]) => [name, decode]));
  return {
    decode: json.closedObject(decoders) as json.Decoder<never>,
    schema: {
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(entries.map(([name, { schema }]) => [name, schema])),
      ...(required.length > 0 && { required }),
    },
    optional: required.length === 0,
  };
}

/** Schema of an object with exactly these members. */
export function closed(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: 'object', required: Object.keys(properties), additionalProperties: false, properties };
}

export function listOf(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: 'array', items: closed(properties) };
}

/** Decodes the body of a request. A missing body counts as an empty object. */
export async function given<T>(request: ApiRequest, { decode, optional }: Body<T>): Promise<T> {
  if (!optional) return request.json(decode);
  return (await request.optionalJson(decode)) ?? decode({}, '');
}
