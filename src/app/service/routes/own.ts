/**
 * Operations that docker's API lacks, under `/layerstack/v1/`: mounts, OCI bundles, checks of the store,
 * and snapshots (snapshots.ts). A mount belongs to the store, not to the connection: it stays until it is
 * unmounted, even after the service ends. Paths are the host's. Each route describes its input and its
 * answer; `openapi.json` is generated from these descriptions, and docs/api.md says the same.
 */
import { FINDING_CODES, isWrong, SEVERITIES, type StoreFinding } from '../../../core/store-finding.ts';
import { packageVersion } from '../../../system/package-version.ts';
import { body, choice, closed, flag, given, hostPath, listOf, text, texts } from '../body-fields.ts';
import type { ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendJsonLines } from '../json-lines.ts';
import { openApiDocument, type DescribedRoute } from '../openapi.ts';
import { sendJson } from '../respond.ts';
import { containerOf } from './container-name.ts';
import { snapshotRoutes } from './snapshots.ts';

const PREFIX = '/layerstack/v1';

const NO_CONTAINER = 'No container has this name or id, or several ids begin with it.';
const BAD_BODY = 'The body is not JSON, or does not match this description.';

const mountBody = body({ ReadOnly: flag('Mounts read-only.') });
const unmountBody = body({
  Force: flag('Unmounts regardless of the number of uses, even if files are in use.'),
});
const bundleBody = body({
  Directory: hostPath('Directory of the bundle; created if it is missing.'),
  Cmd: texts("Replaces the container's Cmd."),
  Entrypoint: texts("Replaces the container's Entrypoint, and clears its Cmd. Empty: no entrypoint."),
  User: text("Replaces the container's user: `name|uid[:group|gid]`."),
  WorkingDir: text("Replaces the container's working directory."),
  Env: texts("`NAME=value`, added to the container's."),
  ReadOnly: choice("The runtime makes the root file system read-only. Default: the container's setting."),
});
const fsckBody = body({
  Deep: flag('Checks all content too, not only metadata.'),
  Repair: flag('Makes the repairs that lose no data that may still be wanted.'),
});

const storeRoutes: readonly DescribedRoute[] = [
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/mount`,
    handle: mount,
    operation: {
      id: 'mountContainer',
      summary: "Mounts a container's root file system.",
      description:
        'The mount outlives the request and the service. Mounting a mounted container adds a use. Each use needs an unmount.',
      body: mountBody,
      answer: {
        description: 'The container is mounted.',
        schema: closed({
          Path: { type: 'string', description: 'Path of the root file system on the host.' },
          ReadOnly: {
            type: 'boolean',
            description:
              'Whether the mount is read-only. An existing writable mount stays writable, so this may be false after a read-only request.',
          },
        }),
      },
      errors: {
        400: BAD_BODY,
        404: NO_CONTAINER,
        409: 'The container is mounted read-only, and the request asks for a writable mount.',
      },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/unmount`,
    handle: unmount,
    operation: {
      id: 'unmountContainer',
      summary: "Releases one use of a container's mount; the last release unmounts it.",
      description: 'Unmounting a container that is not mounted succeeds.',
      body: unmountBody,
      answer: {
        description: 'The use is released.',
        schema: closed({ Uses: { type: 'integer', minimum: 0, description: 'Uses that are left.' } }),
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
        'Mounts the container unless it is mounted. The runtime needs that mount until it has ended; unmount the container then.',
      body: bundleBody,
      answer: {
        description: 'The bundle is written.',
        schema: closed({
          Path: { type: 'string', description: 'Path of the bundle.' },
          Spec: {
            type: 'object',
            description: 'Content of its `config.json`, following runtime-spec 1.0.2.',
          },
          Mapped: listOf({
            Key: { type: 'string', description: 'A key of the host config.' },
            To: { type: 'string', description: 'The place in `config.json` that has its value.' },
          }),
          Unsupported: listOf({
            Key: { type: 'string', description: 'A key of the host config that is not honoured.' },
            Reason: { type: 'string' },
            WayOut: { type: 'string', description: 'What to do instead.' },
          }),
        }),
      },
      errors: {
        400: `${BAD_BODY} Or the user does not exist in the root file system, or neither the request nor the container has a command.`,
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
        'The answer is a stream of JSON documents, one a line: each finding as soon as it is found, then the number of problems. The store may be in use meanwhile.',
      body: fsckBody,
      answer: {
        description: 'A line of the stream.',
        schema: {
          oneOf: [
            closed({
              Code: { type: 'string', enum: FINDING_CODES },
              Severity: {
                type: 'string',
                enum: SEVERITIES,
                description:
                  'error: an object of the store cannot be used. warning: the object can be used, but has a problem. note: for information.',
              },
              Path: { type: 'string', description: 'Path of the affected file, relative to the root.' },
              Message: { type: 'string', description: 'The problem.' },
              Advice: { type: 'string', description: 'The next step; empty if a repair solved the problem.' },
              Repaired: { type: 'boolean', description: 'Whether a repair solved the problem.' },
            }),
            closed({
              Wrong: {
                type: 'integer',
                minimum: 0,
                description: 'Number of errors and warnings that were not repaired.',
              },
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

/** All of layerstack's own routes. */
export const ownRoutes: readonly DescribedRoute[] = [...storeRoutes, ...snapshotRoutes];

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
