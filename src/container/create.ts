/**
 * Makes a container by one native batch. The batch claims the name, makes all files, and ends with the rename
 * that makes the container exist. Until then, the session's markers name all parts: after a crash the next
 * writer removes them, and after a failure they are removed here. The first step claims the name, under a
 * lock, so only one of two callers gets it. A durable creation waits for the disk twice: for the container's
 * files before the rename, and for the rename.
 */
import { hostname } from 'node:os';
import { topChainId, type ChainID, type ImageID } from '../core/digest.ts';
import { isSystemError, LayerstackError } from '../core/errors.ts';
import { remember } from '../core/remember.ts';
import { ZERO_TIME } from '../core/time.ts';
import type { ImageConfig } from '../image/config.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import type { ImageStore } from '../image/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import { newRwLayer, type Base } from '../rwlayer/rwlayer.ts';
import type { RwLayerStore } from '../rwlayer/store.ts';
import { call, native, type BatchStep } from '../system/native.ts';
import type { Root } from '../system/root.ts';
import { statEntry } from '../system/store-files.ts';
import type { Marker, Session } from '../system/session.ts';
import { spaceError } from '../system/space.ts';
import { commandOf, containerConfig, givenConfig, mergedConfig, type ContainerOverrides } from './config.ts';
import { readContainerFile, readHostConfig } from './decodable.ts';
import {
  configDocument,
  hostConfigDocument,
  hostnameOf,
  type Endpoints,
  type HostConfig,
  type Identity,
} from './documents.ts';
import { forkPlan, type ForkOptions, type ForkSource, type MakePlan } from './fork.ts';
import type { NameIndex } from './name-index.ts';
import { generateName, parseContainerName } from './names.ts';
import { readContainer, type Container } from './record.ts';
import { refuseUnsupported, thisMachine, type Unsupported } from './spec/unsupported.ts';
import { validateCreate } from './validate.ts';
import { cleanPath } from './validate-mounts.ts';
import { namedVolumes } from './volumes.ts';

export interface CreateOptions extends ContainerOverrides {
  /** Default: a generated name in Docker's form, e.g. `vaulted_granite`. */
  readonly name?: string | undefined;
  /** The image's name in listings. Default: its id. */
  readonly imageName?: string | undefined;
  /**
   * A whole config in docker's form, merged with the image's config by docker's rules. It takes the place of
   * the single overrides.
   */
  readonly config?: ContainerConfig | undefined;
  /**
   * The settings for a runtime, in docker's form. `bundle` carries them into the runtime's configuration.
   * They are kept in `hostconfig.json`, where dockerd reads them too. Of its networks, only `host` and those
   * that clients have made are kept: layerstack makes none.
   */
  readonly hostConfig?: HostConfig | undefined;
  /** The container's settings in each network that it will join. */
  readonly endpoints?: Endpoints | undefined;
  /**
   * Resolves only when the container is on disk: a power cut leaves a whole container or nothing. Without it,
   * a power cut may lose the container, but only an empty one. Containers that are made at the same time
   * share the syncs. Default false.
   */
  readonly durable?: boolean | undefined;
  /** Accepts and keeps keys of the host config that a bundle cannot carry. Default false. */
  readonly ignoreUnsupported?: boolean | undefined;
  /** Called for each ignored key. */
  readonly onUnsupported?: ((unsupported: Unsupported) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The number of image configs kept in memory, a few KB each. */
const REMEMBERED = 64;
const TEMPORARY = '.tmp-config.v2.json';

interface KnownImage {
  readonly image: ImageConfig;
  /** Its topmost layer; undefined without layers. */
  readonly parent: ChainID | undefined;
}

/** The parts that containers with the same settings share. */
interface Draft {
  readonly image: ImageID;
  /** The host name is empty if none was given; the plan sets it to {@link hostnameOf}. */
  readonly config: ContainerConfig;
  /** The content of `config.v2.json`. */
  readonly document: (identity: Identity) => string;
  /** The content of `hostconfig.json`. */
  readonly hostDocument: string;
}

/** A container of an image that is about to be made. */
interface Plan extends MakePlan {
  readonly created: string;
  readonly image: ImageID;
  readonly config: ContainerConfig;
}

export class ContainerCreator {
  readonly #root: Root;
  readonly #images: ImageStore;
  readonly #rwLayers: RwLayerStore;
  readonly #names: NameIndex;
  readonly #known = new Map<ImageID, KnownImage>();
  /** The drafts of containers without settings of their own. Keys are the image and its name. */
  readonly #drafts = new Map<string, Draft>();

  constructor(root: Root, images: ImageStore, rwLayers: RwLayerStore, names: NameIndex) {
    this.#root = root;
    this.#images = images;
    this.#rwLayers = rwLayers;
    this.#names = names;
  }

  /** @see ContainerStore.create */
  async create(imageId: ImageID, options: CreateOptions, id = newOverlayId()): Promise<Container> {
    const session = this.#root.session();
    const hostConfig = options.hostConfig && readHostConfig(options.hostConfig);
    if (!isAsImageSays(options)) {
      await validateCreate(options.config ?? givenConfig(options), hostConfig ?? {});
      refuseUnsupported(hostConfig ?? {}, thisMachine(namedVolumes(this.#root.layout)), options);
    }
    const wanted = options.name === undefined ? undefined : parseContainerName(options.name);
    await this.#names.complete();
    const { image, parent } = await this.#image(imageId);
    const draft = this.#draft(image, options, hostConfig ?? {});
    await using base = await this.#rwLayers.base(parent, options.signal);
    const plan = await this.#makeNamed(session, wanted, options, (name) =>
      makePlan(draft, { id, name }, base),
    );
    return toContainer(plan);
  }

  /**
   * Makes a container above sealed uppers, with the documents of another container. Atomic, as a creation is.
   * @throws {@link LayerstackError} ERR_CONTAINER_NAME_IN_USE, ERR_INVALID_ARGUMENT for a bad name,
   *   ERR_STORE_CORRUPT for documents that dockerd cannot decode, ERR_NO_SPACE, ERR_STORE_READ_ONLY.
   */
  async fork(source: ForkSource, options: ForkOptions): Promise<Container> {
    const session = this.#root.session();
    const wanted = options.name === undefined ? undefined : parseContainerName(options.name);
    await this.#names.complete();
    const { layer } = await this.#makeNamed(session, wanted, options, (name) =>
      forkPlan(source, name, options.labels ?? {}),
    );
    const made = readContainer(this.#root.layout, layer.key);
    if (made) return made;
    throw new LayerstackError('ERR_CONTAINER_NOT_FOUND', `${layer.owner} was removed`, { id: layer.key });
  }

  /** Makes the container of a plan under the wanted name, or under a generated one that is free. */
  async #makeNamed<P extends MakePlan>(
    session: Session,
    wanted: string | undefined,
    { durable = false, signal }: Pick<CreateOptions, 'durable' | 'signal'>,
    planOf: (name: string) => P,
  ): Promise<P> {
    for (let attempt = 0; ; attempt++) {
      const name = wanted ?? generateName(attempt);
      const plan = planOf(name);
      await using _name = await this.#lockName(name, signal);
      try {
        await this.#make(session, plan, durable);
        return plan;
      } catch (error) {
        if (!(error instanceof NameTaken)) throw error;
      }
      try {
        await this.#names.discardStale(name);
      } catch (error) {
        const taken = LayerstackError.is(error, 'ERR_CONTAINER_NAME_IN_USE');
        if (!taken || wanted !== undefined) throw error;
      }
    }
  }

  #draft(image: ImageConfig, options: CreateOptions, hostConfig: HostConfig): Draft {
    if (!isAsImageSays(options)) return makeDraft(image, options, hostConfig);
    const key = `${image.id} ${options.imageName ?? ''}`;
    const known = this.#drafts.get(key);
    if (known) return known;
    const draft = makeDraft(image, options, hostConfig);
    remember(this.#drafts, key, draft, REMEMBERED);
    return draft;
  }

  /**
   * Returns the image's config. An id's content never changes, so a known image is only checked for
   * existence.
   */
  async #image(id: ImageID): Promise<KnownImage> {
    const known = this.#known.get(id);
    if (known && statEntry(this.#root.layout.at(this.#root.layout.imageContent(id))) !== undefined)
      return known;
    const image = await this.#images.get(id);
    const found = { image, parent: topChainId(image.diffIds) };
    remember(this.#known, id, found, REMEMBERED);
    return found;
  }

  async #make(session: Session, plan: MakePlan, durable: boolean): Promise<void> {
    const { layout, disk } = this.#root;
    const markers: Marker[] = [...this.#rwLayers.createMarkers(plan.layer), `container.${plan.id}`];
    const claim = this.#names.claimStep(plan.name, plan.id);
    const steps = [claim, this.#buildStep(plan), ...this.#workingDirectorySteps(plan)];
    try {
      if (durable) {
        await session.mark(markers, steps);
        await disk.sync();
        await session.unmark(markers, [this.#publishStep(plan)]);
        await disk.sync();
      } else {
        await session.during(markers, [...steps, this.#publishStep(plan)]);
      }
    } catch (error) {
      // All other names are random, so it is the claim that failed. It is the first step, so nothing is made
      // yet.
      if (isSystemError(error, 'EEXIST') && error.dest === layout.at(claim.path)) {
        await session.unmark(markers);
        throw new NameTaken(plan.name);
      }
      await this.#undo(session, plan, markers);
      throw this.#buildError(error, plan);
    }
  }

  /**
   * Returns the step that makes all of a container except for its name and the final name of its config. One
   * thread makes the init layer, and the other one the container.
   */
  #buildStep({ id, layer, documents }: MakePlan): BatchStep {
    const { layout } = this.#root;
    const { init, own } = this.#rwLayers.createSteps(layer);
    const second: BatchStep[] = [
      ...own,
      { op: 'mkdir', path: layout.container(id), mode: 0o710 },
      write(layout.container(id, 'hostconfig.json'), documents['hostconfig.json'], 0o644),
      write(layout.container(id, TEMPORARY), documents['config.v2.json'], 0o600),
    ];
    return { op: 'together', first: init, second };
  }

  /**
   * Makes the working directory over the init layer, owned by root, as dockerd does. Most images already have
   * it.
   */
  #workingDirectorySteps({ workingDirectory: path, layer }: MakePlan): BatchStep[] {
    const { initId, mountId, lowers, directories = lowers } = layer;
    if (path === '' || path === '/') return [];
    const { layout } = this.#root;
    const init = initId === undefined ? [] : [`${initId}/diff`];
    const below = [...init, ...directories].map((directory) => layout.lower(directory));
    const upper = layout.overlay(mountId, 'diff');
    return [{ op: 'makeDirectory', root: layout.root, lowers: below, upper, path }];
  }

  /** Turns the failure to make a working directory into an error about the caller's argument. */
  #buildError(error: unknown, { workingDirectory: path }: MakePlan): unknown {
    const { layout } = this.#root;
    if (
      isSystemError(error, 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG') &&
      error.path?.startsWith(layout.at(layout.overlay2))
    )
      return new LayerstackError('ERR_INVALID_ARGUMENT', `Cannot mkdir: ${path} is not a directory`, {
        cause: error,
      });
    return spaceError(error, layout.root);
  }

  /** Returns the step that makes the container exist. */
  #publishStep({ id }: MakePlan): BatchStep {
    const { layout } = this.#root;
    return {
      op: 'rename',
      from: layout.container(id, TEMPORARY),
      to: layout.container(id, 'config.v2.json'),
    };
  }

  /** Removes the parts that were made. If this fails, they stay marked for the next writer. */
  async #undo(session: Session, plan: MakePlan, markers: readonly Marker[]): Promise<void> {
    const { layout, log } = this.#root;
    try {
      // The container may exist already, if only the sync failed. One step removes it.
      const config = layout.container(plan.id, 'config.v2.json');
      await session.mark(markers, [{ op: 'unlink', path: config, missing: true }]);
      await call(native.removeTree(layout.root, layout.container(plan.id)));
      // The name may belong to another container, if the failure came before the claim.
      const release = this.#names.releaseSteps(plan.name, plan.id);
      await this.#rwLayers.discard(plan.layer, markers, release);
    } catch (error) {
      log.warn('a container that could not be made is left to the next writer', {
        id: plan.id,
        error: String(error),
      });
    }
  }

  #lockName(name: string, signal: AbortSignal | undefined): Promise<AsyncDisposable> {
    return this.#root.locks.acquire('containers', `name:${name}`, { signal });
  }
}

function write(path: string, data: string, mode: number): BatchStep {
  return { op: 'write', path, data, mode };
}

/** The name is claimed already. */
class NameTaken extends Error {}

/** Options that do not affect how the container runs. */
const NEUTRAL: ReadonlySet<string> = new Set(['name', 'imageName', 'durable', 'signal']);

/** Returns whether all settings come from the image. */
function isAsImageSays(options: CreateOptions): boolean {
  return Object.entries(options).every(([key, value]) => value === undefined || NEUTRAL.has(key));
}

function makeDraft(image: ImageConfig, options: CreateOptions, hostConfig: HostConfig): Draft {
  const { config: given, imageName = image.id, endpoints } = options;
  const host = hostConfig['NetworkMode'] === 'host' ? hostname() : '';
  const merged =
    given === undefined
      ? containerConfig(host, image, imageName, options)
      : mergedConfig(host, image, { ...given, Image: imageName });
  const config = { ...merged, WorkingDir: cleanPath(merged.WorkingDir) };
  const document = configDocument({ image: image.id, config, hostConfig, endpoints });
  // Checks the document with a sample identity, because dockerd can decode every identity.
  const sample = document({ id: newOverlayId(), name: 'any', created: ZERO_TIME });
  readContainerFile('config.v2.json', Buffer.from(sample), {
    what: 'the config of the container',
    code: 'ERR_INVALID_ARGUMENT',
  });
  return { image: image.id, config, document, hostDocument: hostConfigDocument(hostConfig) };
}

function makePlan(draft: Draft, { id, name }: Pick<Identity, 'id' | 'name'>, base: Base): Plan {
  const identity = { id, name, created: new Date().toISOString() };
  return {
    ...identity,
    image: draft.image,
    config: { ...draft.config, Hostname: draft.config.Hostname || hostnameOf(identity) },
    workingDirectory: draft.config.WorkingDir,
    documents: { 'config.v2.json': draft.document(identity), 'hostconfig.json': draft.hostDocument },
    layer: newRwLayer({ key: identity.id, owner: `container ${name}` }, base),
  };
}

function toContainer(plan: Plan): Container {
  return {
    id: plan.id,
    name: plan.name,
    imageId: plan.image,
    imageName: plan.config.Image,
    created: plan.created,
    command: commandOf(plan.config),
    config: plan.config,
    state: 'created',
    exitCode: 0,
    finished: undefined,
    mountId: plan.layer.mountId,
    initId: plan.layer.initId,
    parent: plan.layer.parent,
  };
}
