/**
 * What docker's API has no word for, under `/layerstack/v1/`: mounts, OCI bundles, checks of the store. A mount belongs to the store and not to
 * the connection: it stays until it is unmounted, also when the service ends. Paths are the host's. Each route says what it takes and
 * answers; `openapi.json` is made of that, and docs/api.md tells the same.
 */
import { FINDING_CODES, isWrong, SEVERITIES, type StoreFinding } from '../../../core/store-finding.ts';
import { packageVersion } from '../../../system/package-version.ts';
import { body, choice, flag, hostPath, text, texts, type Body, type Schema } from '../body-fields.ts';
import type { ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendJsonLines } from '../json-lines.ts';
import { openApiDocument, type DescribedRoute } from '../openapi.ts';
import { sendJson } from '../respond.ts';
import { containerOf } from './container-name.ts';

const PREFIX = '/layerstack/v1';

const NO_CONTAINER = 'No container has this name or id, or several have it.';
const BAD_BODY = 'The body is not JSON, or not as described here.';

const mountBody = body({ ReadOnly: flag('Nothing can be written through this mount.') });
const unmountBody = body({
  Force: flag('Whatever the number of uses, and even if files are in use.'),
});
const bundleBody = body({
  Directory: hostPath('Where the bundle goes; made where it is missing.'),
  Cmd: texts("Replaces the container's Cmd."),
  Entrypoint: texts("Replaces the container's Entrypoint, and drops its Cmd. Empty: no entrypoint."),
  User: text("Replaces the container's user: `name|uid[:group|gid]`."),
  WorkingDir: text("Replaces the container's working directory."),
  Env: texts("`NAME=value`, added to the container's."),
  ReadOnly: choice('The runtime makes the root file system read-only. Default: as the container has it.'),
});
const fsckBody = body({
  Deep: flag('Looks at all content too, not only at metadata.'),
  Repair: flag('Mends what can be mended without losing anything that somebody may want.'),
});

export const ownRoutes: readonly DescribedRoute[] = [
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/mount`,
    handle: mount,
    operation: {
      id: 'mountContainer',
      summary: "Mounts a container's root file system.",
      description:
        'The mount outlives the request and the service. Each of these needs an unmount; while there is a mount another adds a use of it.',
      body: mountBody,
      answer: {
        description: 'It is mounted.',
        schema: closed({
          Path: { type: 'string', description: 'Of the root file system, on the host.' },
          ReadOnly: {
            type: 'boolean',
            description: 'Of the mount that is there: false also where a writable one was there already.',
          },
        }),
      },
      errors: { 400: BAD_BODY, 404: NO_CONTAINER, 409: 'It is mounted read-only, and shall be writable.' },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/unmount`,
    handle: unmount,
    operation: {
      id: 'unmountContainer',
      summary: "Gives back one use of a container's mount; the last one unmounts.",
      description: 'Unmounting a container that is not mounted succeeds.',
      body: unmountBody,
      answer: {
        description: 'The use is given back.',
        schema: closed({ Uses: { type: 'integer', minimum: 0, description: 'That are left.' } }),
      },
      errors: { 400: BAD_BODY, 404: NO_CONTAINER, 409: 'Files in it are in use.' },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/bundle`,
    handle: bundle,
    operation: {
      id: 'writeBundle',
      summary: 'Writes an OCI bundle of a container, for `runc run --bundle`.',
      description:
        'Mounts the container unless it is mounted. The runtime needs that mount until it has ended: unmount it then.',
      body: bundleBody,
      answer: {
        description: 'The bundle is written.',
        schema: closed({
          Path: { type: 'string', description: 'Of the bundle.' },
          Spec: { type: 'object', description: 'What is in its `config.json`, by runtime-spec 1.0.2.' },
          Mapped: listOf({
            Key: { type: 'string', description: 'A key of the host config.' },
            To: { type: 'string', description: 'Where it is in `config.json`, with its value.' },
          }),
          Unsupported: listOf({
            Key: { type: 'string', description: 'A key of the host config that is not honoured.' },
            Reason: { type: 'string' },
            WayOut: { type: 'string', description: 'What to do instead.' },
          }),
        }),
      },
      errors: {
        400: `${BAD_BODY} Or the user is not in the root file system, or no command was given.`,
        404: `${NO_CONTAINER} Or a device or directory of the host is missing.`,
      },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/fsck`,
    handle: check,
    operation: {
      id: 'checkStore',
      summary: 'Checks layers, images and containers.',
      description:
        'The answer is a stream of JSON documents, one a line, as they are found; the last says how many are wrong. Others may use the store meanwhile.',
      body: fsckBody,
      answer: {
        description: 'Each line is one of these.',
        schema: {
          oneOf: [
            closed({
              Code: { type: 'string', enum: FINDING_CODES },
              Severity: {
                type: 'string',
                enum: SEVERITIES,
                description:
                  'error: something of the store cannot be used. warning: it can, but is not in order. note: good to know.',
              },
              Path: { type: 'string', description: 'Of the file at fault, relative to the root.' },
              Message: { type: 'string', description: 'What is wrong.' },
              Advice: { type: 'string', description: 'What to do; empty where a repair has done it.' },
              Repaired: { type: 'boolean', description: 'It was wrong, and is in order now.' },
            }),
            closed({
              Wrong: { type: 'integer', minimum: 0, description: 'Findings that are not in order.' },
            }),
          ],
        },
      },
      errors: { 400: BAD_BODY },
    },
  },
  {
    method: 'GET',
    pattern: `${PREFIX}/openapi.json`,
    handle: describe,
    operation: {
      id: 'describe',
      summary: 'This document.',
      answer: {
        description: 'An OpenAPI 3.1 document.',
        schema: { type: 'object', required: ['openapi', 'info', 'paths'] },
      },
    },
  },
];

/** An object of just these members. */
function closed(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: 'object', required: Object.keys(properties), additionalProperties: false, properties };
}

function listOf(properties: Readonly<Record<string, Schema>>): Schema {
  return { type: 'array', items: closed(properties) };
}

/** The body of a request; where there is none, what an empty one says. */
async function given<T>(request: ApiRequest, { decode, optional }: Body<T>): Promise<T> {
  if (!optional) return request.json(decode);
  return (await request.optionalJson(decode)) ?? decode({}, '');
}

async function mount(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { ReadOnly: readOnly } = await given(request, mountBody);
  const container = await containerOf(request, store);
  const mounted = await store.containers.mount(container, { readOnly, signal: request.signal });
  sendJson(request, 200, { Path: mounted.path, ReadOnly: mounted.readOnly });
}

async function unmount(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Force: force } = await given(request, unmountBody);
  const container = await containerOf(request, store);
  sendJson(request, 200, {
    Uses: await store.containers.unmount(container, { force, signal: request.signal }),
  });
}

async function bundle(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Directory, Cmd, Entrypoint, User, WorkingDir, Env, ReadOnly } = await given(request, bundleBody);
  const { path, spec, mapped, unsupported } = await store.containers.bundle(
    await containerOf(request, store),
    Directory,
    {
      ...{ command: Cmd, entrypoint: Entrypoint, user: User },
      ...{ workingDir: WorkingDir, env: Env, readOnly: ReadOnly },
    },
  );
  sendJson(request, 200, {
    ...{ Path: path, Spec: spec },
    Mapped: mapped.map(({ key, to }) => ({ Key: key, To: to })),
    Unsupported: unsupported.map(({ key, reason, wayOut }) => ({ Key: key, Reason: reason, WayOut: wayOut })),
  });
}

async function check(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Deep: deep, Repair: repair } = await given(request, fsckBody);
  const findings = store.fsck({ deep, repair, signal: request.signal });
  const documents = async function* (): AsyncGenerator<unknown> {
    let wrong = 0;
    for await (const finding of findings) {
      if (isWrong(finding)) wrong++;
      yield apiFinding(finding);
    }
    yield { Wrong: wrong };
  };
  await sendJsonLines(request, documents());
}

function apiFinding({ code, severity, path, message, advice, repaired }: StoreFinding): unknown {
  return { Code: code, Severity: severity, Path: path, Message: message, Advice: advice, Repaired: repaired };
}

function describe(request: ApiRequest): Promise<void> {
  sendJson(request, 200, openApiDocument(ownRoutes, packageVersion()));
  return Promise.resolve();
}
