/**
 * Takes a snapshot by the first way that works, cheapest first:
 *
 * 1. The upper of an idle container is sealed (seal.ts).
 * 2. That of a mounted container is sealed (seal-mounted.ts), if nothing writes and no other mount could.
 * 3. Otherwise the upper is copied (copy.ts), frozen where that is possible.
 *
 * Each way captures every write that returned before the call. The record names the way.
 */
import { throwIfAborted } from '../core/abort.ts';
import { LayerstackError } from '../core/errors.ts';
import { readDocuments } from '../container/fork.ts';
import { rwLayerOf, type Container } from '../container/record.ts';
import { isActive, type ContainerStore } from '../container/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import type { RwLayerStore } from '../rwlayer/store.ts';
import type { Root } from '../system/root.ts';
import { copyUpper } from './copy.ts';
import { noteExpiry, parseExpiry } from './expire.ts';
import type { SnapshotOptions } from './options.ts';
import type { Flats } from './flatten.ts';
import { sealMounted } from './seal-mounted.ts';
import { seal } from './seal.ts';
import type { Snapshot } from './snapshot.ts';
import { checkStack, readStack, type SealedStack } from './stack.ts';

export interface SnapshotRequest {
  readonly container: Container;
  readonly options: SnapshotOptions;
}

/** Takes a snapshot of a container. The caller holds its lock, and that of the name. */
export async function takeSnapshot(
  root: Root,
  containers: ContainerStore,
  flats: Flats,
  { container, options }: SnapshotRequest,
): Promise<Snapshot> {
  const layer = rwLayerOf(container);
  using short = await flats.shorten(() => readStack(root, layer));
  const below = short.stack.lowers.length;
  checkStack(root, layer, below);
  const snapshot = await take(root, new Taking(root, containers.rwLayers, container, short.stack), options);
  flats.later(snapshot, below + 1);
  return snapshot;
}

async function take({ log }: Root, taking: Taking, options: SnapshotOptions): Promise<Snapshot> {
  const { mode = 'auto', signal } = options;
  // A seal does not freeze, so a request to freeze means a copy.
  if (mode === 'copy' || (mode === 'auto' && options.freeze === true)) return taking.copy(options);
  try {
    return await taking.seal(options);
  } catch (error) {
    const isRefused = LayerstackError.is(
      error,
      ...(['ERR_CONTAINER_BUSY', 'ERR_CONTAINER_MOUNTED', 'ERR_STORE_UNSUPPORTED'] as const),
    );
    if (mode === 'seal' || !isRefused) throw error;
    log.info('a snapshot is taken by copying', { id: taking.containerId, because: error.message });
  }
  throwIfAborted(signal);
  return taking.copy(options);
}

/** One snapshot that is being taken. */
class Taking {
  readonly #root: Root;
  readonly #rwLayers: RwLayerStore;
  readonly #container: Container;
  readonly #stack: SealedStack;

  constructor(root: Root, rwLayers: RwLayerStore, container: Container, stack: SealedStack) {
    this.#root = root;
    this.#rwLayers = rwLayers;
    this.#container = container;
    this.#stack = stack;
  }

  get containerId(): string {
    return this.#container.id;
  }

  async seal(options: SnapshotOptions): Promise<Snapshot> {
    const root = this.#root;
    const stack = this.#stack;
    await requireIdle(root, this.#rwLayers, this.#container);
    const layer = rwLayerOf(this.#container);
    const facts = this.#facts(options);
    const replacement = await this.#rwLayers.replacement(layer, facts.id);
    const snapshot: Snapshot = {
      ...{ ...facts, method: 'sealed', consistency: 'quiescent', bytes: 0 },
      generation: replacement?.generation ?? 0,
    };
    await noteExpiry(root, snapshot);
    const { durable = false } = options;
    const sealing = { record: { snapshot, documents: this.#documents() }, stack, durable };
    if (!replacement) {
      await seal(root, layer, sealing);
      return snapshot;
    }
    await using lowers = await this.#rwLayers.lowers(layer, options.signal);
    await sealMounted(root, layer, { ...sealing, replacement, lowers });
    return snapshot;
  }

  async copy(options: SnapshotOptions): Promise<Snapshot> {
    const root = this.#root;
    const layer = rwLayerOf(this.#container);
    const mounted = await this.#rwLayers.mounted(layer);
    const facts = this.#facts(options);
    await noteExpiry(root, facts);
    return copyUpper(root, layer, {
      facts: { ...facts, generation: mounted?.generation ?? 0 },
      documents: this.#documents(),
      stack: this.#stack,
      isIdle: mounted === undefined && (await this.#isIdle()),
      isMounted: mounted !== undefined,
      options,
    });
  }

  async #isIdle(): Promise<boolean> {
    try {
      await requireIdle(this.#root, this.#rwLayers, this.#container);
      return true;
    } catch (error) {
      if (LayerstackError.is(error, 'ERR_CONTAINER_MOUNTED')) return false;
      throw error;
    }
  }

  #facts({ name, labels = {}, expires }: SnapshotOptions) {
    const { id, name: containerName, imageId, imageName, parent } = this.#container;
    const stack = this.#stack;
    return {
      id: newOverlayId(),
      ...{ name, labels, created: new Date().toISOString() },
      expires: expires === undefined ? undefined : parseExpiry(expires),
      ...{ parent: stack.parent, depth: stack.sealed.length + 1 },
      ...{ containerId: id, containerName, imageId, imageName, layer: parent },
    };
  }

  #documents() {
    return readDocuments(this.#root.layout, this.#container.id);
  }
}

/**
 * Requires that nothing but the mount at its path uses a container. The store and the kernel are asked.
 * @throws {@link LayerstackError} ERR_CONTAINER_MOUNTED.
 */
export async function requireIdle(root: Root, rwLayers: RwLayerStore, container: Container): Promise<void> {
  const layer = rwLayerOf(container);
  const refuse = (why: string): LayerstackError =>
    new LayerstackError('ERR_CONTAINER_MOUNTED', `container ${container.name} ${why}`, {
      ...{ id: container.id, path: rwLayers.mountPath(layer) },
    });
  if (isActive(container)) throw refuse(`is ${container.state}: stop it first`);
  if (await rwLayers.isMounted(layer)) return;
  if (root.caps.mountMethod !== 'flat' && (await rwLayers.isInUse(layer)))
    throw refuse(
      'is still in use by a process of another mount namespace, or by a process that kept files open across ' +
        'a forced unmount: stop that process first',
    );
}
