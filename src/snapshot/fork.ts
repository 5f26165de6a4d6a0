/** Forks a snapshot: makes containers whose new uppers are on top of it, all of them or none. */
import { LayerstackError } from '../core/errors.ts';
import type { Container } from '../container/record.ts';
import type { ContainerStore } from '../container/store.ts';
import { isShortName } from '../layer/overlay.ts';
import { lowerOf, shortNameOf } from '../rwlayer/sealed.ts';
import type { Root } from '../system/root.ts';
import { readRecord } from './record.ts';
import { titleOf } from './remove.ts';
import type { Snapshot } from './snapshot.ts';

export interface ForkOptions {
  /** The number of containers. Default 1. */
  readonly count?: number | undefined;
  /** The name of the container; of several, `NAME-1`, `NAME-2`, ... Default: generated names. */
  readonly name?: string | undefined;
  /** Labels in addition to those of the source. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Resolves only when the containers are on disk. Default false. */
  readonly durable?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** More than a machine can mount, but too few for a mistyped number to fill a disk. */
const MAX_COUNT = 10_000;

/** Checks the options of a fork before anything is made. */
export function checkForkOptions({ count = 1 }: ForkOptions): void {
  if (!Number.isSafeInteger(count) || count < 1 || count > MAX_COUNT)
    throw new LayerstackError('ERR_INVALID_ARGUMENT', `count must be from 1 to ${MAX_COUNT}, not ${count}`, {
      key: 'options.count',
    });
}

/** Returns the names of a fork's containers; undefined for one that is generated. */
export function namesOf({ count = 1, name }: ForkOptions): (string | undefined)[] {
  return Array.from({ length: count }, (_, index) =>
    name === undefined || count === 1 ? name : `${name}-${index + 1}`,
  );
}

/**
 * Makes the containers. After an error none of them exists.
 * @throws {@link LayerstackError} ERR_SNAPSHOT_NOT_FOUND when it was removed, ERR_CONTAINER_NAME_IN_USE,
 *   ERR_INVALID_ARGUMENT, ERR_NO_SPACE, ERR_ABORTED, ERR_STORE_READ_ONLY.
 */
export async function forkSnapshot(
  root: Root,
  containers: ContainerStore,
  snapshot: Snapshot,
  options: ForkOptions,
): Promise<Container[]> {
  checkForkOptions(options);
  const { labels, durable, signal } = options;
  root.session();
  await using base = await containers.rwLayers.base(snapshot.layer, signal);
  // A removal of the snapshot takes the lock exclusively, and then finds the containers.
  await using _lock = await root.locks.acquire('containers', snapshot.id, { shared: true, signal });
  const record = await readRecord(root.layout, snapshot.id);
  if (record === undefined) throw removed(snapshot);
  const { documents } = record;
  const sealed = sealedOf(root, snapshot, base.lowers.length);
  const source = { containerId: snapshot.containerId, documents, base, sealed };
  const made: Container[] = [];
  try {
    for (const name of namesOf(options))
      made.push(await containers.fork(source, { name, labels, durable, signal }));
    return made;
  } catch (error) {
    for (const container of made)
      await root.aftermath.run(`the fork ${container.name} stays`, () => containers.remove(container));
    throw error;
  }
}

/**
 * Returns the sealed uppers of a snapshot, its own first.
 * @param base - the number of layers of its image
 * @throws {@link LayerstackError} ERR_STORE_CORRUPT for a snapshot without a short name or with a damaged
 *   stack.
 */
export function sealedOf({ layout }: Root, snapshot: Snapshot, base: number): string[] {
  const { id, depth } = snapshot;
  const name = shortNameOf(layout, id);
  if (name === undefined)
    throw new LayerstackError(
      'ERR_STORE_CORRUPT',
      `${titleOf(snapshot)} has no valid short name: \`layerstack fsck --repair\` writes a new one`,
      { id, path: layout.at(layout.overlay(id, 'link')) },
    );
  const lowers = lowerOf(layout, id);
  const sealed = [name, ...lowers.slice(0, Math.max(0, lowers.length - base))];
  if (sealed.length === depth && lowers.length === depth - 1 + base && sealed.every(isShortName))
    return sealed;
  const path = layout.at(layout.overlay(id, 'lower'));
  throw new LayerstackError(
    'ERR_STORE_CORRUPT',
    `${path} is damaged: ${titleOf(snapshot)} has ${depth - 1} sealed uppers and ${base} layers below it`,
    { id, path },
  );
}

export function removed(snapshot: Snapshot): LayerstackError {
  return new LayerstackError('ERR_SNAPSHOT_NOT_FOUND', `${titleOf(snapshot)} was removed`, {
    id: snapshot.id,
  });
}
