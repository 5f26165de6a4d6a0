/**
 * Image configs that layerstack makes itself, for commit and import: one line, top-level members sorted, nested ones in
 * docker's order, so that dockerd would have written the same bytes (but for `docker_version`, which docker >= 29 leaves
 * out too, and a null for variables). Mirrors `moby/moby: image/image.go` (NewChildImage) and `daemon/images/image_import.go` at v20.10.
 */
import type { DiffID } from '../core/digest.ts';
import { goJson, sortedKeys } from '../core/go-json.ts';
import type { Platform } from '../core/platform.ts';
import type { Time } from '../core/time.ts';
import { historyDocument, parseImageConfig, type HistoryEntry, type ImageConfig } from './config.ts';
import { dockerContainerConfig, EMPTY_CONTAINER_CONFIG, type ContainerConfig } from './container-config.ts';

/** What a commit, or an import, adds to an image. */
export interface ChildFacts {
  readonly created: Time;
  readonly author: string;
  readonly comment: string;
  /** Undefined where it is made of no container. */
  readonly containerId: string | undefined;
  /** As the container ran. */
  readonly containerConfig: ContainerConfig;
  /** As containers of the new image will run. */
  readonly config: ContainerConfig;
  /** Undefined where nothing was changed: then the image has no layer more than its parent. */
  readonly diffId: DiffID | undefined;
}

/** The image that is made on `parent` (undefined for a container without an image). */
export function childImage(
  parent: ImageConfig | undefined,
  platform: Platform,
  facts: ChildFacts,
): ImageConfig {
  const step: HistoryEntry = {
    created: facts.created,
    author: facts.author,
    createdBy: (facts.containerConfig.Cmd ?? []).join(' '),
    comment: facts.comment,
    emptyLayer: facts.diffId === undefined,
  };
  return document({
    architecture: parent?.architecture || platform.architecture,
    author: facts.author || undefined,
    config: imageContainerConfig(facts.config),
    container: facts.containerId,
    container_config: dockerContainerConfig(facts.containerConfig),
    created: facts.created.text,
    history: [...(parent?.history ?? []), step].map(historyDocument),
    os: parent?.os ?? platform.os,
    'os.version': parent?.osVersion || undefined,
    rootfs: {
      type: 'layers',
      diff_ids: [...(parent?.diffIds ?? []), ...(facts.diffId === undefined ? [] : [facts.diffId])],
    },
    variant: parent ? parent.variant : platform.variant,
  });
}

/** What an import makes an image of. */
export interface BaseFacts {
  readonly created: Time;
  readonly author: string;
  readonly comment: string;
  readonly config: ContainerConfig;
  readonly platform: Platform;
  readonly diffId: DiffID;
}

/** An image of one layer. */
export function baseImage({ created, author, comment, config, platform, diffId }: BaseFacts): ImageConfig {
  const step: HistoryEntry = { created, author, createdBy: '', comment, emptyLayer: false };
  return document({
    architecture: platform.architecture,
    author: author || undefined,
    comment: comment || undefined,
    config: imageContainerConfig(config),
    container_config: dockerContainerConfig(EMPTY_CONTAINER_CONFIG),
    created: created.text,
    history: [historyDocument(step)],
    os: platform.os,
    rootfs: { type: 'layers', diff_ids: [diffId] },
    variant: platform.variant,
  });
}

/** As dockerd writes it, but without the `"Env":null` of a config without variables, which is no image of the image-spec. */
function imageContainerConfig(config: ContainerConfig): Record<string, unknown> {
  return { ...dockerContainerConfig(config), Env: config.Env ?? undefined };
}

function document(members: Readonly<Record<string, unknown>>): ImageConfig {
  return parseImageConfig(Buffer.from(goJson(sortedKeys(Object.entries(members)))));
}
