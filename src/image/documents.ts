/**
 * Makes docker's documents about an image, those of `docker image inspect`, `docker history` and `docker
 * images`, with the field names, the order and the empty values of dockerd 20.10's API. Mirrors `moby/moby:
 * daemon/images/{image_inspect,image_history,images}.go` at v20.10.
 */
import type { ImageID } from '../core/digest.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import { parseTime, ZERO_TIME } from '../core/time.ts';
import type { Layer } from '../layer/store.ts';
import type { Layout } from '../system/layout.ts';
import type { CatalogEntry } from './catalog.ts';
import type { ImageConfig } from './config.ts';
import { dockerContainerConfig } from './container-config.ts';

/** The facts of one image. */
export interface ImageFacts {
  readonly config: ImageConfig;
  /** Topmost first, as `LayerStore.chain` gives them. */
  readonly layers: readonly Layer[];
  readonly references: readonly Reference[];
  readonly parent?: ImageID | undefined;
  /** RFC 3339, as stored. */
  readonly lastUpdated?: string | undefined;
}

/** The document of `docker image inspect`. */
export interface ImageInspect {
  readonly Id: ImageID;
  readonly RepoTags: readonly string[];
  readonly RepoDigests: readonly string[];
  /** Image id, or empty. */
  readonly Parent: string;
  readonly Comment: string;
  /** RFC 3339; year 1 where the config has none. */
  readonly Created: string;
  readonly Container: string;
  readonly ContainerConfig: Readonly<Record<string, unknown>>;
  readonly DockerVersion: string;
  readonly Author: string;
  readonly Config: Readonly<Record<string, unknown>> | null;
  readonly Architecture: string;
  readonly Variant?: string;
  readonly Os: string;
  readonly OsVersion?: string;
  /** Bytes of all layers. */
  readonly Size: number;
  readonly VirtualSize: number;
  readonly GraphDriver: { readonly Data: Readonly<Record<string, string>> | null; readonly Name: 'overlay2' };
  readonly RootFS: { readonly Type: string; readonly Layers?: readonly string[] };
  /** RFC 3339 of the last `tag`; year 1 before the first one. */
  readonly Metadata: { readonly LastTagTime: string };
}

/** One row of `docker history`, newest first. */
export interface HistoryRow {
  readonly Comment: string;
  /** Seconds since 1970. */
  readonly Created: number;
  readonly CreatedBy: string;
  /** Image id, or `<missing>` for a step whose image is not in the store. */
  readonly Id: string;
  /** Bytes of the step's own layer. */
  readonly Size: number;
  readonly Tags: readonly string[] | null;
}

/** One row of `docker images`. */
export interface ImageSummary {
  /** Not counted: -1. */
  readonly Containers: number;
  /** Seconds since 1970. */
  readonly Created: number;
  readonly Id: ImageID;
  readonly Labels: Readonly<Record<string, string>> | null;
  /** Image id, or empty. */
  readonly ParentId: string;
  /** Empty for an image without a reference by digest. */
  readonly RepoDigests: readonly string[];
  /** Empty for an untagged image. */
  readonly RepoTags: readonly string[];
  /** Not computed: -1. */
  readonly SharedSize: number;
  /** Bytes of all layers. */
  readonly Size: number;
  readonly VirtualSize: number;
  /** Only of an image that is stored as its tars, which dockerd does not see. */
  readonly Form?: 'packed';
}

const ZERO_UNIX = parseTime(ZERO_TIME)?.unix ?? 0;

export function inspectDocument(facts: ImageFacts, layout: Layout): ImageInspect {
  const { config, layers } = facts;
  const size = layers.reduce((sum, layer) => sum + layer.size, 0);
  return {
    Id: config.id,
    ...namesOf(facts.references),
    Parent: facts.parent ?? '',
    Comment: config.comment || (config.history.at(-1)?.comment ?? ''),
    Created: config.created?.text ?? ZERO_TIME,
    Container: config.container,
    ContainerConfig: dockerContainerConfig(config.containerConfig, Number),
    DockerVersion: config.dockerVersion,
    Author: config.author,
    Config: config.hasConfig ? dockerContainerConfig(config.config, Number) : null,
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config.osVersion === '' ? {} : { OsVersion: config.osVersion }),
    Size: size,
    VirtualSize: size,
    GraphDriver: { Data: graphDriverData(layers, layout), Name: 'overlay2' },
    RootFS: {
      Type: config.rootfsType,
      ...(config.diffIds.length === 0 ? {} : { Layers: config.diffIds }),
    },
    Metadata: { LastTagTime: parseTime(facts.lastUpdated ?? '')?.text ?? ZERO_TIME },
  };
}

function graphDriverData([top, ...lower]: readonly Layer[], layout: Layout): Record<string, string> | null {
  // The directories of packed layers exist only in mounts.
  if (top?.cacheId === undefined) return null;
  const diff = ({ cacheId = '' }: Layer): string => layout.at(layout.overlay(cacheId, 'diff'));
  return {
    ...(lower.length === 0 ? {} : { LowerDir: lower.map(diff).join(':') }),
    MergedDir: layout.at(layout.overlay(top.cacheId, 'merged')),
    UpperDir: diff(top),
    WorkDir: layout.at(layout.overlay(top.cacheId, 'work')),
  };
}

/**
 * Returns the history of `config`. `ancestors` are the image itself and the images that it was built from, as
 * far as the store still has them, the nearest first.
 */
export function historyRows(
  config: ImageConfig,
  layers: readonly Layer[],
  ancestors: readonly { readonly id: ImageID; readonly references: readonly Reference[] }[],
): HistoryRow[] {
  const sizes = layers.map((layer) => layer.size);
  const rows = config.history.map((entry) => ({
    Comment: entry.comment,
    Created: entry.created?.unix ?? ZERO_UNIX,
    CreatedBy: entry.createdBy,
    Size: entry.emptyLayer ? 0 : (sizes.pop() ?? 0),
  }));
  return rows.reverse().map(({ Size, ...row }, index) => {
    const image = ancestors[index];
    const tags = image ? namesOf(image.references).RepoTags : [];
    return { ...row, Id: image?.id ?? '<missing>', Size, Tags: tags.length === 0 ? null : tags };
  });
}

export function summaryRow(entry: CatalogEntry, references: readonly Reference[]): ImageSummary {
  const { RepoDigests, RepoTags } = namesOf(references);
  return {
    Containers: -1,
    Created: entry.created,
    Id: entry.id,
    Labels: entry.labels,
    ParentId: entry.parent ?? '',
    RepoDigests,
    RepoTags,
    SharedSize: -1,
    Size: entry.size,
    VirtualSize: entry.size,
    ...(entry.form === 'packed' && { Form: 'packed' as const }),
  };
}

function namesOf(references: readonly Reference[]): { RepoTags: string[]; RepoDigests: string[] } {
  return {
    RepoTags: references.filter(({ tag }) => tag !== undefined).map(formatReference),
    RepoDigests: references
      .filter(({ tag, digest }) => tag === undefined && digest !== undefined)
      .map(formatReference),
  };
}
