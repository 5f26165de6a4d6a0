/**
 * Reports changes of a store to listeners: one event for each change, once it is made, with docker's words
 * and attributes (moby/moby: daemon/events.go at v20.10). Only what this opened store does is reported. The
 * journal (event-journal.ts) is one of the listeners; it holds what all processes do to the root.
 */
import type { Container } from '../container/record.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { Logger } from '../system/log.ts';

export type ImageAction = 'pull' | 'push' | 'load' | 'save' | 'import' | 'tag' | 'untag' | 'delete' | 'prune';

export type ContainerAction =
  | 'create'
  | 'commit'
  | 'export'
  | 'archive-path'
  | 'extract-to-dir'
  | 'mount'
  | 'unmount'
  | 'remount'
  | 'rename'
  | 'snapshot'
  | 'rollback'
  | 'promote'
  | 'destroy'
  | 'prune';

export type SnapshotAction = 'create' | 'commit' | 'squash' | 'destroy';

interface About {
  /** The id of the image, container or snapshot; the reference for a pull or push; empty for a prune. */
  readonly id: string;
  /** Labels, `name`, and what docker adds to this action (`image`, `comment`, `reclaimed`, …). */
  readonly attributes: Readonly<Record<string, string>>;
}

/** A change of a store, a pull or a push. */
export type StoreEvent =
  | (About & { readonly type: 'image'; readonly action: ImageAction })
  | (About & { readonly type: 'container'; readonly action: ContainerAction })
  | (About & { readonly type: 'snapshot'; readonly action: SnapshotAction });

export type StoreListener = (event: StoreEvent) => void;

/** Labels as configs (a map) and listings (an object) have them. */
type Labels = Readonly<Record<string, string>> | ReadonlyMap<string, string> | null | undefined;

/** The listeners of one opened store. */
export class StoreEvents {
  readonly #log: Logger;
  readonly #listeners = new Set<StoreListener>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Calls `listener` for each event from now on, until the returned function is called. */
  listen(listener: StoreListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Whether there is a listener. Without one, the facts of an event need not be read. */
  get heard(): boolean {
    return this.#listeners.size > 0;
  }

  /** `name` is the name of the image in docker's event, most often its id. */
  image(action: ImageAction, id: string, name: string, labels?: Labels): void {
    this.#emit({ type: 'image', action, id, attributes: { ...plain(labels), name } });
  }

  container(
    action: ContainerAction,
    { id, name, imageName, config }: Container,
    extra: Readonly<Record<string, string>> = {},
  ): void {
    const image = imageName === '' ? {} : { image: imageName };
    this.#emit({
      type: 'container',
      action,
      id,
      attributes: { ...plain(config.Labels), ...extra, ...image, name },
    });
  }

  snapshot(
    action: SnapshotAction,
    { id, name, labels, containerId, containerName }: Snapshot,
    extra: Readonly<Record<string, string>> = {},
  ): void {
    const attributes = {
      ...labels,
      ...extra,
      container: containerId,
      containerName,
      ...(name !== undefined && { name }),
    };
    this.#emit({ type: 'snapshot', action, id, attributes });
  }

  /** `reclaimed` is in bytes. */
  prune(type: 'image' | 'container', reclaimed: number): void {
    this.#emit({ type, action: 'prune', id: '', attributes: { reclaimed: String(reclaimed) } });
  }

  /** Calls the listeners. The work is done already, so a listener that fails must not make it fail. */
  #emit(event: StoreEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#log.error('a listener for store events failed', { action: event.action, error: String(error) });
      }
    }
  }
}

function plain(labels: Labels): Record<string, string> {
  return Object.fromEntries(labels instanceof Map ? labels : Object.entries(labels ?? {}));
}
