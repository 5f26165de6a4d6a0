/**
 * Makes image configs for commit and import: one line, top-level members sorted, nested ones in docker's
 * order. dockerd would write the same bytes, except for `docker_version`, which docker >= 29 omits too, and a
 * null for variables. Mirrors `moby/moby: image/image.go` (NewChildImage) and `daemon/images/image_import.go`
 * at v20.10.
 */
import type { DiffID } from '../core/digest.ts';
import { goJson, sortedKeys } from '../core/go-json.ts';
import type { Platform } from '../core/platform.ts';
import type { Time } from '../core/time.ts';
import { historyDocument, parseImageConfig, type HistoryEntry, type ImageConfig } from './config.ts';
import { dockerContainerConfig, EMPTY_CONTAINER_CONFIG, type ContainerConfig } from './container-config.ts';

/** What a commit, or an import with a base, adds to an image. */
export interface ChildFacts {
  readonly created: Time;
  readonly author: string;
  readonly comment: string;
  /** Undefined where no container is committed. */
  readonly containerId: string | undefined;
  /** The config of the container that is committed. */
  readonly containerConfig: ContainerConfig;
  /** The config for containers of the new image. */
  readonly config: ContainerConfig;
  /** Undefined where nothing was changed: then the image has only its parent's layers. */
  readonly diffId: DiffID | undefined;
}

/** Returns the config of an image on top of `parent` (undefined for a container without an image). */
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

/** The parts of an imported image. */
export interface BaseFacts {
  readonly created: Time;
  readonly author: string;
  readonly comment: string;
  readonly config: ContainerConfig;
  readonly platform: Platform;
  readonly diffId: DiffID;
}

/** Returns the config of an image of one layer. */
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

/** Writes the config as dockerd does, except for `"Env":null`, which the image-spec forbids. */
function imageContainerConfig(config: ContainerConfig): Record<string, unknown> {
  return { ...dockerContainerConfig(config), Env: config.Env ?? undefined };
}

function document(members: Readonly<Record<string, unknown>>): ImageConfig {
  return parseImageConfig(Buffer.from(goJson(sortedKeys(Object.entries(members)))));
}
