/**
 * A container as `GET /containers/json` and `GET /system/df` list it. Fields, order and empty values are
 * docker's (moby/moby: api/types/types.go, container/view.go at v20.10).
 */
import type { ContainerInspect } from '../../container/inspect.ts';
import { portsOf, type PortSummary } from '../../container/ports.ts';
import type { Container } from '../../container/record.ts';
import type { ContainerSize } from '../../container/store.ts';
import { commandText, statusText } from '../container-text.ts';
import type { Layerstack } from '../layerstack.ts';

export interface ContainerSummary {
  readonly Id: string;
  readonly Names: readonly string[];
  /** The name that the container was created from, or the id if that name means another image now. */
  readonly Image: string;
  readonly ImageID: string;
  readonly Command: string;
  /** Seconds since 1970. */
  readonly Created: number;
  readonly Ports: readonly PortSummary[];
  /** Bytes; missing if the request did not ask for them, or if they are 0. */
  readonly SizeRw?: number | undefined;
  readonly SizeRootFs?: number | undefined;
  readonly Labels: Readonly<Record<string, string>>;
  readonly State: string;
  readonly Status: string;
  readonly HostConfig: { readonly NetworkMode: unknown };
  readonly NetworkSettings: { readonly Networks: unknown };
  readonly Mounts: ContainerInspect['Mounts'];
}

/** The input of a summary. */
export interface ContainerFacts {
  readonly container: Container;
  readonly mounted: boolean;
  readonly size?: ContainerSize | undefined;
}

/** Builds summaries of the containers of one store, with the current names of its images. */
export class ContainerSummaries {
  readonly #store: Layerstack;
  readonly #images: ReadonlyMap<string, string>;

  private constructor(store: Layerstack, images: ReadonlyMap<string, string>) {
    this.#store = store;
    this.#images = images;
  }

  static async of(store: Layerstack): Promise<ContainerSummaries> {
    const images = await store.images.list({ all: true });
    return new ContainerSummaries(
      store,
      new Map(images.flatMap(({ Id, RepoTags }) => RepoTags.map((tag) => [tag, Id]))),
    );
  }

  async summary({ container, mounted, size }: ContainerFacts): Promise<ContainerSummary> {
    const inspected = await this.#store.containers.inspect(container);
    const { HostConfig, NetworkSettings, Mounts } = inspected;
    return {
      Id: container.id,
      Names: [`/${container.name}`],
      Image: this.#imageName(container),
      ImageID: container.imageId ?? '',
      Command: commandText(container),
      Created: Math.floor((Date.parse(container.created) || 0) / 1000),
      Ports: portsOf(inspected),
      SizeRw: size?.SizeRw || undefined,
      SizeRootFs: size?.SizeRootFs || undefined,
      Labels: Object.fromEntries(container.config.Labels ?? []),
      State: container.state,
      Status: statusText(container, mounted),
      HostConfig: { NetworkMode: HostConfig['NetworkMode'] ?? '' },
      NetworkSettings: { Networks: NetworkSettings['Networks'] },
      Mounts,
    };
  }

  #imageName({ imageName, imageId }: Container): string {
    const hasTag = /[:@]/.test(imageName.slice(imageName.lastIndexOf('/') + 1));
    const now = this.#images.get(hasTag ? imageName : `${imageName}:latest`);
    return now === undefined || now === imageId ? imageName : (imageId ?? '');
  }
}
