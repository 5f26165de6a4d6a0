/**
 * The OpenAPI document of layerstack's own routes (`GET /layerstack/v1/openapi.json`), generated from the
 * descriptions of the routes. Docker itself describes docker's routes.
 */
import type { Body, Schema } from './body-fields.ts';
import type { Route } from './context.ts';

/** The description of a route for its callers. */
export interface Operation {
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly body?: Body<unknown>;
  readonly answer: {
    readonly description: string;
    /** The schema of the document or, for a stream, of each of its lines. */
    readonly schema: Schema;
  };
  /** Error statuses of this route, each with its meaning. */
  readonly errors?: Readonly<Record<number, string>>;
}

export type DescribedRoute = Route & { readonly operation: Operation };

/** Descriptions of the names in patterns. */
const PARAMETERS: Readonly<Record<string, string>> = {
  name: 'Id of a container, the beginning of its id, or its name.',
  snapshot: 'Id of a snapshot, the beginning of its id, or its name.',
  from: 'Id or name of a snapshot or container.',
  to: 'Id or name of a snapshot or container.',
};

const ERROR: Schema = {
  type: 'object',
  required: ['message'],
  additionalProperties: false,
  properties: { message: { type: 'string', description: 'What happened, to which object, and what to do.' } },
};

export interface OpenApiDocument {
  readonly openapi: '3.1.0';
  readonly info: Schema;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
  readonly components: Schema;
}

/** Builds the document of these routes. */
export function openApiDocument(routes: readonly DescribedRoute[], version: string): OpenApiDocument {
  const paths: Record<string, Record<string, Schema>> = {};
  for (const route of routes) (paths[route.pattern] ??= {})[route.method.toLowerCase()] = operation(route);
  return {
    openapi: '3.1.0',
    info: {
      title: "layerstack's own API",
      version,
      summary: "Operations that docker's API lacks: mounts, OCI bundles, checks of the store, snapshots.",
      license: { name: 'MIT', identifier: 'MIT' },
    },
    paths,
    components: { schemas: { Error: ERROR } },
  };
}

function operation({ pattern, operation: described }: DescribedRoute): Schema {
  const { id, summary, description, body, answer, errors = {} } = described;
  const names = [...pattern.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
  const parameters = names.map((name) => ({
    ...{ name, in: 'path', required: true, schema: { type: 'string' } },
    description: PARAMETERS[name],
  }));
  const failures = Object.entries({ ...errors, default: 'Another error.' });
  return {
    operationId: id,
    summary,
    ...(description !== undefined && { description }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: !body.optional, content: ofJson(body.schema) } }),
    responses: {
      200: { description: answer.description, content: ofJson(answer.schema) },
      ...Object.fromEntries(
        failures.map(([status, when]) => [
          status,
          { description: when, content: ofJson({ $ref: '#/components/schemas/Error' }) },
        ]),
      ),
    },
  };
}

function ofJson(schema: Schema): Schema {
  return { 'application/json': { schema } };
}
