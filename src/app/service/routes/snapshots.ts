/** Routes of snapshots, below `/layerstack/v1/`; own.ts explains how they are described. */
import type { Snapshot, SnapshotSize } from '../../../snapshot/snapshot.ts';
import {
  body,
  closed,
  count,
  flag,
  given,
  labels,
  listOf,
  text,
  texts,
  type Schema,
} from '../body-fields.ts';
import type { ServiceContext } from '../context.ts';
import type { DescribedRoute } from '../openapi.ts';
import type { ApiRequest } from '../request.ts';
import { sendJson } from '../respond.ts';
import { containerOf } from './container-name.ts';

const PREFIX = '/layerstack/v1';

const BAD_BODY = 'The body is not JSON, or does not match this description.';
const NO_SNAPSHOT = 'No snapshot has this name or id.';
const NEITHER = 'No snapshot or container has this name or id.';

const takeBody = body({
  Name: text('Name of the snapshot, unique among the snapshots. Default: none.'),
  Labels: labels('Labels of the snapshot.'),
  Expires: text(
    'Time after which it is removed, unless something needs it: `1h`, or a date. Default: never.',
  ),
  Durable: flag('Answers only when all its files are on disk.'),
});
const forkBody = body({
  Count: count(10_000, 'Number of containers. Default: 1.'),
  Name: text('Name of the container; of several, the names are NAME-1, NAME-2, ...'),
  Labels: labels('Labels in addition to those of the source.'),
  Durable: flag('Answers only when the containers are on disk.'),
});
const rollbackBody = body({ Keep: flag('First takes a snapshot of the current files.') });
const squashBody = body({
  Name: text('Name of the new snapshot. Default: none.'),
  Labels: labels('Labels in addition to those of the topmost snapshot.'),
});
const commitBody = body({
  Reference: text('Name of the image. Default: none.'),
  Author: text('Author of the image.'),
  Message: text('Commit message.'),
  Changes: texts('Dockerfile instructions for the image.'),
});

const optionalText = (description: string): Schema => ({ type: ['string', 'null'], description });
const id = (description: string): Schema => ({ type: 'string', description });
const bytes = (description: string): Schema => ({ type: 'integer', minimum: 0, description });

const FACTS: Readonly<Record<string, Schema>> = {
  Id: id('Id of the snapshot.'),
  Name: optionalText('Its name.'),
  Labels: { type: 'object', additionalProperties: { type: 'string' } },
  Created: { type: 'string', description: 'RFC 3339.' },
  Expires: optionalText('Time after which it is removed, unless something needs it.'),
  Parent: optionalText('Id of the snapshot directly below.'),
  Depth: { type: 'integer', minimum: 1, description: 'Number of sealed uppers, with its own.' },
  ContainerId: id('Id of the container that was sealed.'),
  ContainerName: { type: 'string', description: 'The name that the container had.' },
  ImageId: optionalText('Id of its image.'),
};
const SIZES: Readonly<Record<string, Schema>> = {
  OwnBytes: bytes('Bytes that no other snapshot has.'),
  SharedBytes: bytes('Bytes that its parents have.'),
};

export const snapshotRoutes: readonly DescribedRoute[] = [
  {
    method: 'GET',
    pattern: `${PREFIX}/snapshots`,
    handle: list,
    operation: {
      id: 'listSnapshots',
      summary: 'Lists the snapshots, the oldest first.',
      answer: { description: 'The snapshots.', schema: listOf({ ...FACTS, ...SIZES }) },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/snapshot`,
    handle: take,
    operation: {
      id: 'takeSnapshot',
      summary: 'Takes a snapshot of a container. It has files only: no processes, memory or sockets.',
      body: takeBody,
      answer: { description: 'The snapshot.', schema: closed(FACTS) },
      errors: {
        400: BAD_BODY,
        404: 'No container has this name or id.',
        409: 'The name is taken, or the container is in use.',
      },
    },
  },
  {
    method: 'DELETE',
    pattern: `${PREFIX}/snapshots/{snapshot}`,
    handle: remove,
    operation: {
      id: 'removeSnapshot',
      summary: 'Removes a snapshot. Its files are deleted in the background.',
      answer: { description: 'It is removed.', schema: closed({ Id: id('Id of the snapshot.') }) },
      errors: { 404: NO_SNAPSHOT, 409: 'A container or another snapshot needs it.' },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/fork/{from}`,
    handle: fork,
    operation: {
      id: 'fork',
      summary: 'Makes containers with the files of a snapshot or container: all of them or none.',
      description: 'Of a container, a snapshot is taken first.',
      body: forkBody,
      answer: {
        description: 'The containers.',
        schema: listOf({ Id: id('Id of the container.'), Name: { type: 'string' } }),
      },
      errors: { 400: BAD_BODY, 404: NEITHER, 409: 'A name is taken, or the container is in use.' },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/rollback/{snapshot}`,
    handle: rollback,
    operation: {
      id: 'rollback',
      summary: 'Puts a container back to a snapshot of the same image. Its id, its name and its path stay.',
      body: rollbackBody,
      answer: {
        description: 'The container has the files of the snapshot.',
        schema: closed({ Kept: optionalText('Id of the snapshot of the old files, with `Keep`.') }),
      },
      errors: {
        400: `${BAD_BODY} Or the snapshot belongs to another image.`,
        404: 'The container or snapshot does not exist.',
        409: 'The container is in use.',
      },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/containers/{name}/promote/{from}`,
    handle: promote,
    operation: {
      id: 'promote',
      summary: 'Gives a container the files of a fork of it. Of several forks the first one wins.',
      answer: { description: 'The snapshot that is below the container now.', schema: closed(FACTS) },
      errors: {
        400: 'The fork belongs to another image.',
        404: NEITHER,
        409: 'The container was changed since the fork, or one of them is in use.',
      },
    },
  },
  {
    method: 'GET',
    pattern: `${PREFIX}/diff/{from}/{to}`,
    handle: diff,
    operation: {
      id: 'diff',
      summary: 'Lists the changes that lead from one snapshot or container to another one of the same image.',
      answer: {
        description: 'The changes, sorted.',
        schema: listOf({
          Kind: { type: 'string', enum: ['A', 'C', 'D'], description: 'Added, changed or deleted.' },
          Path: { type: 'string', description: 'Absolute, in the root file system.' },
        }),
      },
      errors: {
        400: 'They belong to different images.',
        404: NEITHER,
        409: 'One was changed while it was read.',
      },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/snapshots/{snapshot}/squash/{to}`,
    handle: squash,
    operation: {
      id: 'squash',
      summary: 'Makes one snapshot of a run of snapshots, from the lowest to one above it.',
      body: squashBody,
      answer: { description: 'The new snapshot.', schema: closed(FACTS) },
      errors: {
        400: `${BAD_BODY} Or the first is not below the second.`,
        404: NO_SNAPSHOT,
        409: 'The name is taken.',
      },
    },
  },
  {
    method: 'POST',
    pattern: `${PREFIX}/snapshots/{snapshot}/commit`,
    handle: commit,
    operation: {
      id: 'commitSnapshot',
      summary: 'Makes an image of a snapshot.',
      body: commitBody,
      answer: { description: 'The image is on disk.', schema: closed({ Id: id('Id of the image.') }) },
      errors: { 400: `${BAD_BODY} Or a change is malformed.`, 404: NO_SNAPSHOT },
    },
  },
];

function factsOf(snapshot: Snapshot): Record<string, unknown> {
  const {
    name,
    labels: own,
    created,
    expires,
    parent,
    depth,
    containerId,
    containerName,
    imageId,
  } = snapshot;
  return {
    ...{ Id: snapshot.id, Name: name ?? null, Labels: own, Created: created, Expires: expires ?? null },
    ...{ Parent: parent ?? null, Depth: depth, ContainerId: containerId, ContainerName: containerName },
    ImageId: imageId ?? null,
  };
}

async function list(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const all = await store.snapshots.list();
  const sizes = await store.snapshots.sizes();
  const sizeOf = (size: SnapshotSize | undefined): Record<string, unknown> => ({
    OwnBytes: size?.own ?? 0,
    SharedBytes: size?.shared ?? 0,
  });
  sendJson(
    request,
    200,
    all.map((each) => ({ ...factsOf(each), ...sizeOf(sizes.get(each.id)) })),
  );
}

async function take(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Name: name, Labels, Expires: expires, Durable: durable } = await given(request, takeBody);
  const container = await containerOf(request, store);
  const options = { name, labels: Labels, expires, durable, signal: request.signal };
  sendJson(request, 200, factsOf(await store.snapshots.create(container, options)));
}

async function remove(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const snapshot = await store.snapshots.get(request.param('snapshot'));
  await store.snapshots.remove(snapshot, { signal: request.signal });
  sendJson(request, 200, { Id: snapshot.id });
}

async function fork(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Count, Name: name, Labels, Durable: durable } = await given(request, forkBody);
  const options = { count: Count, name, labels: Labels, durable, signal: request.signal };
  const made = await store.snapshots.fork(request.param('from'), options);
  sendJson(
    request,
    200,
    made.map((container) => ({ Id: container.id, Name: container.name })),
  );
}

async function rollback(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Keep: keep } = await given(request, rollbackBody);
  const container = await containerOf(request, store);
  const options = { keep, signal: request.signal };
  const kept = await store.snapshots.rollback(container, request.param('snapshot'), options);
  sendJson(request, 200, { Kept: kept?.id ?? null });
}

async function promote(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const onto = await containerOf(request, store);
  const snapshot = await store.snapshots.promote(request.param('from'), { onto, signal: request.signal });
  sendJson(request, 200, factsOf(snapshot));
}

async function diff(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const changes = await store.snapshots.diff(request.param('from'), request.param('to'));
  sendJson(
    request,
    200,
    changes.map(({ kind, path }) => ({ Kind: kind, Path: path })),
  );
}

async function squash(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Name: name, Labels } = await given(request, squashBody);
  const options = { name, labels: Labels, signal: request.signal };
  const made = await store.snapshots.squash(request.param('snapshot'), request.param('to'), options);
  sendJson(request, 200, factsOf(made));
}

async function commit(request: ApiRequest, { store }: ServiceContext): Promise<void> {
  const { Reference, Author, Message, Changes } = await given(request, commitBody);
  const Id = await store.snapshots.commit(request.param('snapshot'), {
    ...{ reference: Reference, author: Author, message: Message, changes: Changes },
    signal: request.signal,
  });
  sendJson(request, 200, { Id });
}
