/**
 * What docker's API has no word for, under `/layerstack/v1/`: mounts, OCI bundles, checks of the store. A mount belongs to the store and not to
 * the connection: it stays until it is unmounted, also when the service ends. Paths are the host's.
 *
 *   POST /layerstack/v1/containers/{name}/mount    {"ReadOnly":false}              -> {"Path":"…/merged","ReadOnly":false}
 *   POST /layerstack/v1/containers/{name}/unmount  {"Force":false}                 -> {"Uses":0}
 *   POST /layerstack/v1/containers/{name}/bundle   {"Directory":"/run/b","Cmd":…} -> {"Path":"/run/b","Spec":{…},"Mapped":[{"Key":…,"To":…}],
 *                                                                                    "Unsupported":[{"Key":…,"Reason":…,"WayOut":…}]}
 *   POST /layerstack/v1/fsck                       {"Deep":false,"Repair":false}   -> findings as JSON lines, as they come, and at
 *                                                                                    the end {"Wrong":0}
 */
import * as json from '../../../core/json.ts';
import { isWrong, type StoreFinding } from '../../../core/store-finding.ts';
import type { Route, ServiceContext } from '../context.ts';
import type { ApiRequest } from '../request.ts';
import { sendJsonLines } from '../json-lines.ts';
import { sendJson } from '../respond.ts';
import { HttpError } from '../status.ts';
import { containerOf } from './container-name.ts';

const PREFIX = '/layerstack/v1';

const flag = json.withDefault(json.boolean, false);
const decodeMount = json.object({ ReadOnly: flag });
const decodeUnmount = json.object({ Force: flag });
const decodeFsck = json.object({ Deep: flag, Repair: flag });
const decodeBundle = json.object({
  Directory: json.string,
  Cmd: json.optional(json.array(json.string)),
  Entrypoint: json.optional(json.array(json.string)),
  User: json.optional(json.string),
  WorkingDir: json.optional(json.string),
  Env: json.optional(json.array(json.string)),
  ReadOnly: json.optional(json.boolean),
});

export const ownRoutes: readonly Route[] = [
  { method: 'POST', pattern: `${PREFIX}/containers/{name}/mount`, handle: mount },
  { method: 'POST', pattern: `${PREFIX}/containers/{name}/unmount`, handle: unmount },
  { method: 'POST', pattern: `${PREFIX}/containers/{name}/bundle`, handle: bundle },
  { method: 'POST', pattern: `${PREFIX}/fsck`, handle: check },
];

async function mount(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { ReadOnly: readOnly } = (await request.optionalJson(decodeMount)) ?? { ReadOnly: false };
  const container = await containerOf(request, store);
  const mounted = await store.mount(container, { readOnly, signal: request.signal });
  sendJson(request, 200, { Path: mounted.path, ReadOnly: mounted.readOnly });
}

async function unmount(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Force: force } = (await request.optionalJson(decodeUnmount)) ?? { Force: false };
  const container = await containerOf(request, store);
  sendJson(request, 200, { Uses: await store.unmount(container, { force, signal: request.signal }) });
}

async function bundle(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const body = await request.json(decodeBundle);
  if (!body.Directory.startsWith('/'))
    throw new HttpError(400, `Directory must be an absolute path, not ${JSON.stringify(body.Directory)}`);
  const { path, spec, mapped, unsupported } = await store.bundle(
    await containerOf(request, store),
    body.Directory,
    {
      command: body.Cmd,
      entrypoint: body.Entrypoint,
      user: body.User,
      workingDir: body.WorkingDir,
      env: body.Env,
      readOnly: body.ReadOnly,
    },
  );
  sendJson(request, 200, {
    ...{ Path: path, Spec: spec },
    Mapped: mapped.map(({ key, to }) => ({ Key: key, To: to })),
    Unsupported: unsupported.map(({ key, reason, wayOut }) => ({ Key: key, Reason: reason, WayOut: wayOut })),
  });
}

async function check(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Deep: deep, Repair: repair } = (await request.optionalJson(decodeFsck)) ?? {
    Deep: false,
    Repair: false,
  };
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
