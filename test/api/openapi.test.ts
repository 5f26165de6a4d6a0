/**
 * layerstack's own routes as `GET /layerstack/v1/openapi.json` and docs/api.md describe them: all of them and
 * no others, real answers by their schemas, and bodies that are refused where the schema refuses them.
 */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv from 'ajv';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OpenApiDocument } from '../../src/app/service/openapi.ts';
import { ROUTES } from '../../src/app/service/routes/index.ts';
import { dockerArchive } from '../support/archives.ts';
import { imageOf, layerOf } from '../support/images.ts';
import { tar } from '../support/tar.ts';
import { TestService, type Answer } from '../support/test-service.ts';

const PREFIX = '/layerstack/v1';
const OWN = ROUTES.filter(({ pattern }) => pattern.startsWith('/layerstack/'));
const API = readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8');

interface SchemaObject {
  readonly properties?: Readonly<Record<string, SchemaObject>>;
  readonly items?: SchemaObject;
  readonly oneOf?: readonly SchemaObject[];
}

interface OperationObject {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string }[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly content: Readonly<Record<string, { readonly schema: SchemaObject }>>;
  };
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, { readonly schema: SchemaObject }>> }>
  >;
}

let service: TestService;
let described: OpenApiDocument;
let ajv: Ajv.Ajv;

beforeAll(async () => {
  service = await TestService.start();
  const image = imageOf([layerOf({ 'etc/base': 'base' })], { tags: ['base:1'], config: { Cmd: ['/run'] } });
  await service.post('/images/load', { body: tar(dockerArchive([image])) });
  await service.post('/containers/create?name=own', {
    json: { Image: 'base:1', HostConfig: { Memory: 67108864, PublishAllPorts: true } },
  });
  described = (await service.get(`${PREFIX}/openapi.json`)).json<OpenApiDocument>();
  ajv = new Ajv({ allErrors: true, jsonPointers: true });
  ajv.addSchema(described, 'openapi');
});

afterAll(() => service[Symbol.asyncDispose]());

const operations = (): [method: string, path: string, operation: OperationObject][] =>
  Object.entries(described.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, string, OperationObject] => [
      method.toUpperCase(),
      path,
      operation as unknown as OperationObject,
    ]),
  );

/** Returns the violations of the schema at a place in the document by a value. */
function faults(value: unknown, method: string, path: string, ...place: string[]): string {
  const pointer = ['paths', path, method.toLowerCase(), ...place]
    .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
    .join('/');
  return ajv.validate({ $ref: `openapi#/${pointer}` }, value) === true ? '' : ajv.errorsText();
}

/** Returns the violations of an answer's description. */
function answerFaults(value: unknown, method: string, path: string, { status, headers }: Answer): string {
  const operation = operations().find(([m, p]) => m === method && p === path)?.[2];
  const named = operation?.responses[String(status)] === undefined ? 'default' : String(status);
  const type = headers['content-type'] ?? 'none';
  expect(Object.keys(operation?.responses[named]?.content ?? {})).toEqual([type]);
  return faults(value, method, path, 'responses', named, 'content', type, 'schema');
}

const bodyFaults = (value: unknown, path: string): string =>
  faults(value, 'POST', path, 'requestBody', 'content', 'application/json', 'schema');

const pathOf = (name: string): string => `${PREFIX}/containers/{name}/${name}`;

describe('the document', () => {
  it('is one of OpenAPI 3.1', async () => {
    const result = await new Validator().validate(
      structuredClone(described) as unknown as Parameters<Validator['validate']>[0],
    );
    expect(result).toEqual({ valid: true });
    expect(described.openapi).toBe('3.1.0');
    // The validator refuses an invalid document.
    const broken = structuredClone(described) as unknown as {
      paths: Record<string, { post: { responses?: unknown } }>;
    };
    broken.paths[`${PREFIX}/fsck`] = { post: { responses: 7 } };
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  it('has every route below /layerstack/, and no others', () => {
    const registered = OWN.map(({ method, pattern }) => `${method} ${pattern}`).sort();
    expect(
      operations()
        .map(([method, path]) => `${method} ${path}`)
        .sort(),
    ).toEqual(registered);
    expect(registered.length).toBeGreaterThan(4);
  });

  it('names every part of a path, and each operation by a name of its own', () => {
    for (const [, path, { parameters = [] }] of operations())
      expect(parameters.map(({ name }) => name)).toEqual(
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
      );
    const ids = operations().map(([, , { operationId }]) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('is answered to docker clients of any version', async () => {
    expect((await service.get(`/v1.41${PREFIX}/openapi.json`)).json()).toEqual(described);
  });
});

describe('answers', () => {
  const post = (name: string, json?: unknown): Promise<Answer> =>
    service.post(`${PREFIX}/containers/own/${name}`, json === undefined ? {} : { json });

  it.each([
    ['mount', undefined],
    ['mount', { ReadOnly: true }],
    ['unmount', {}],
    ['unmount', { Force: true }],
    ['unmount', undefined],
  ])('of %s %j are as described', async (name, json) => {
    const answer = await post(name, json);
    expect([answer.status, answerFaults(answer.json(), 'POST', pathOf(name), answer)]).toEqual([200, '']);
  });

  it('of bundle are as described, mappings and refusals too', async () => {
    const directory = join(service.scratch, 'bundle');
    mkdirSync(directory);
    const answer = await post('bundle', { Directory: directory, Env: ['A=1'], ReadOnly: true });
    const document = answer.json<{ Mapped: unknown[]; Unsupported: unknown[] }>();
    expect([answer.status, answerFaults(document, 'POST', pathOf('bundle'), answer)]).toEqual([200, '']);
    expect(document.Mapped.length).toBeGreaterThan(0);
    expect(document.Unsupported.length).toBeGreaterThan(0);
    await post('unmount');
  });

  it('of fsck are as described, line by line', async () => {
    symlinkSync('../gone/diff', join(service.store.root, 'overlay2/l', 'A'.repeat(26)));
    const answer = await service.post(`${PREFIX}/fsck`, { json: { Repair: true } });
    const lines = answer.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(answerFaults(line, 'POST', `${PREFIX}/fsck`, answer)).toBe('');
  });

  it('of snapshots are as described, and do what they say', async () => {
    const shown = async <T>(method: 'GET' | 'POST' | 'DELETE', path: string, url: string, json?: unknown) => {
      const body = json === undefined ? {} : { json };
      const full = `${PREFIX}${url}`;
      const answer = await (method === 'POST' ? service.post(full, body) : service.send(method, full));
      const document = answer.json<T>();
      expect([url, answerFaults(document, method, `${PREFIX}${path}`, answer)]).toEqual([url, '']);
      return { status: answer.status, document };
    };
    const taken = await shown<{ Id: string }>(
      'POST',
      '/containers/{name}/snapshot',
      '/containers/own/snapshot',
      { Name: 'base', Labels: { step: '1' }, Expires: '1h', Durable: true },
    );
    expect(taken).toMatchObject({ status: 200, document: { Name: 'base', Labels: { step: '1' }, Depth: 1 } });
    const fork = await shown('POST', '/fork/{from}', '/fork/base', { Count: 2, Name: 'try' });
    expect(fork.document).toMatchObject([{ Name: 'try-1' }, { Name: 'try-2' }]);
    const mount = await service.store.containers.mount('try-1');
    writeFileSync(join(mount.path, 'result'), 'good');
    await mount.unmount();
    const diff = await shown('GET', '/diff/{from}/{to}', '/diff/base/try-1');
    expect(diff.document).toEqual([{ Kind: 'A', Path: '/result' }]);
    const promoted = '/containers/{name}/promote/{from}';
    const won = await shown<{ Id: string }>('POST', promoted, '/containers/own/promote/try-1');
    expect(won).toMatchObject({ status: 200, document: { Parent: taken.document.Id } });
    expect((await shown('POST', promoted, '/containers/own/promote/try-2')).status).toBe(409);
    const back = await shown(
      'POST',
      '/containers/{name}/rollback/{snapshot}',
      '/containers/own/rollback/base',
      { Keep: true },
    );
    expect(back).toMatchObject({ status: 200, document: { Kept: expect.any(String) as unknown } });
    const image = await shown<{ Id: string }>(
      'POST',
      '/snapshots/{snapshot}/commit',
      `/snapshots/${won.document.Id}/commit`,
      { Reference: 'won:1', Message: 'good' },
    );
    expect((await service.store.images.inspect('won:1')).Id).toBe(image.document.Id);
    const squashed = await shown<{ Id: string }>(
      'POST',
      '/snapshots/{snapshot}/squash/{to}',
      `/snapshots/base/squash/${won.document.Id}`,
      { Name: 'both' },
    );
    expect(squashed).toMatchObject({ status: 200, document: { Name: 'both', Depth: 1 } });
    const list = await shown<unknown[]>('GET', '/snapshots', '/snapshots');
    expect(list.document).toContainEqual(expect.objectContaining({ Name: 'both', OwnBytes: 4 }));
    const remove = '/snapshots/{snapshot}';
    expect((await shown('DELETE', remove, '/snapshots/base')).status).toBe(409);
    for (const name of ['try-1', 'try-2']) await service.store.containers.remove(name);
    expect((await shown('DELETE', remove, '/snapshots/both')).status).toBe(200);
    expect((await shown('DELETE', remove, '/snapshots/both')).status).toBe(404);
  });

  it('of openapi.json are as described', async () => {
    const answer = await service.get(`${PREFIX}/openapi.json`);
    expect(answerFaults(answer.json(), 'GET', `${PREFIX}/openapi.json`, answer)).toBe('');
  });

  it('that are errors are as described', async () => {
    const failed: Record<number, boolean> = {};
    const check = async (name: string, answer: Answer): Promise<void> => {
      failed[answer.status] = true;
      expect(answerFaults(answer.json(), 'POST', pathOf(name), answer)).toBe('');
    };
    await check('mount', await service.post(`${PREFIX}/containers/nobody/mount`));
    await check('mount', await post('mount', { ReadOnly: 1 }));
    await post('mount', { ReadOnly: true });
    await check('mount', await post('mount'));
    await check('bundle', await post('bundle', {}));
    await check('bundle', await post('bundle', { Directory: '/proc/nowhere/at/all' }));
    await post('unmount', { Force: true });
    expect(Object.keys(failed)).toEqual(expect.arrayContaining(['400', '404', '409', '500']));
  });

  it('are checked strictly: an undescribed field is a fault', () => {
    expect(bodyFaults({ ReadOnly: 'yes' }, pathOf('mount'))).not.toBe('');
    expect(
      faults(
        { Uses: -1 },
        'POST',
        pathOf('unmount'),
        'responses',
        '200',
        'content',
        'application/json',
        'schema',
      ),
    ).not.toBe('');
  });
});

describe('bodies', () => {
  /** Values of each type, and values that a field may require. */
  const VALUES = [true, false, null, 0, 1.5, '', 'text', '/tmp/x', [], ['a'], [1], {}, { a: 1 }];
  let directory: string;
  beforeEach(() => {
    directory = join(service.scratch, 'bodies');
  });

  /** Valid bodies, and bodies with one fault. */
  function bodiesOf(schema: SchemaObject, required: Record<string, unknown>): unknown[] {
    const names = Object.keys(schema.properties ?? {});
    return [
      ...[required, {}, null, [], 'text', 7, true],
      { ...required, nope: 1 },
      ...names.map((name) => ({ ...required, [name.toLowerCase()]: true })),
      ...names.flatMap((name) => VALUES.map((value) => ({ ...required, [name]: value }))),
    ];
  }

  it('are refused exactly where the schema refuses them', async () => {
    let count = { taken: 0, refused: 0 };
    for (const [, path, { requestBody }] of operations()) {
      if (requestBody === undefined) continue;
      const schema = requestBody.content['application/json']?.schema ?? {};
      const needed = requestBody.required ? { Directory: directory } : {};
      for (const json of bodiesOf(schema, needed)) {
        const url = path.replaceAll(/\{\w+\}/g, 'own');
        const answer = await service.post(url, { json });
        const refused = answer.status === 400 && /"message":"the request body: /.test(answer.text);
        expect([JSON.stringify(json), refused], url).toEqual([
          JSON.stringify(json),
          bodyFaults(json, path) !== '',
        ]);
        count = { taken: count.taken + Number(!refused), refused: count.refused + Number(refused) };
      }
      const none = await service.post(path.replaceAll(/\{\w+\}/g, 'own'));
      expect(none.status === 400).toBe(requestBody.required);
    }
    await service.store.containers.unmount('own', { force: true });
    expect(Math.min(count.taken, count.refused)).toBeGreaterThan(20);
  });
});

describe('docs/api.md', () => {
  it('has a section for each route, which names all its fields and statuses', () => {
    const sections = new Map(
      API.split(/^## /m)
        .slice(1)
        .map((section) => [/^`([^`]+)`/.exec(section)?.[1] ?? '', section]),
    );
    const names = (schema: SchemaObject): string[] => [
      ...Object.entries(schema.properties ?? {}).flatMap(([name, each]) => [name, ...names(each)]),
      ...(schema.items ? names(schema.items) : []),
      ...(schema.oneOf ?? []).flatMap(names),
    ];
    for (const [method, path, { requestBody, responses }] of operations()) {
      const section = sections.get(`${method} ${path}`) ?? '';
      expect(section, `${method} ${path}`).not.toBe('');
      const schemas = [requestBody?.content, responses['200']?.content].flatMap(
        (content) => content?.['application/json']?.schema ?? [],
      );
      for (const name of schemas.flatMap(names)) expect(section).toContain(`\`${name}\``);
      for (const status of Object.keys(responses).filter((each) => /^[345]/.test(each)))
        expect(section).toContain(status);
    }
    expect([...sections.keys()].filter((title) => /^(GET|POST|DELETE) /.test(title))).toHaveLength(
      OWN.length,
    );
  });
});
