/**
 * Reads docker's first archive format (before 1.10). Each layer has a directory with `layer.tar` and `json`,
 * the config of an image of its own, which names its parent. `repositories` names the top images:
 *
 *   {"NAME":{"TAG":"ID"}}
 *
 * As in dockerd, each layer becomes an image, and the lower images are parents of the upper ones. The format
 * has no DiffIDs to check the layers against, so all layers are staged first.
 * Mirrors `moby/moby: image/tarexport/load.go`, legacyLoad.
 */
import type { DiffID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import type { Reference } from '../../core/reference.ts';
import { configFromV1, parseV1Image, type V1Image } from '../../image/v1.ts';
import { requireDepth } from '../../layer/plan.ts';
import { findMember, MAX_DOCUMENT, readDocument, type Archive, type FoundMember } from './archive.ts';
import { repoTag } from './docker.ts';
import { inMember, type Plan, type PlannedImage, type PlannedLayer } from '../ingest/planned.ts';
import type { LayerMember } from '../ingest/member.ts';

export const V1_REPOSITORIES = 'repositories';

/** Finds the DiffID of a member that is a layer. A LayerPool stages the member to find it. */
export interface LayerIdentifier {
  peek(member: LayerMember): Promise<{ readonly diffId: DiffID }>;
}

interface V1Layer {
  readonly image: V1Image;
  readonly layer: PlannedLayer;
}

const decodeRepositories = json.map(json.map(json.string));

/**
 * Plans the images of an archive in this format.
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID, ERR_ARCHIVE_MEMBER, ERR_CONFIG_INVALID,
 *   ERR_REFERENCE_INVALID, and the errors of staging.
 */
export async function readV1(archive: Archive, pool: LayerIdentifier): Promise<Plan> {
  const names = await readNames(archive);
  const ids = [...archive.members.names()].flatMap((name) => /^([^/]+)\/json$/.exec(name)?.[1] ?? []);
  const layers = new Map(
    await Promise.all(ids.map(async (id) => [id, await readLayer(archive, pool, id)] as const)),
  );
  for (const id of names.keys()) if (!layers.has(id)) findMember(archive, V1_REPOSITORIES, `${id}/json`);

  const images = new Map<string, PlannedImage>();
  for (const id of layers.keys()) build(archive, { layers, names }, images, id);
  const parents = new Set([...images.values()].map(({ parent }) => parent));
  return {
    images: [...images.values()].map((image) => ({
      ...image,
      intermediate: image.references.length === 0 && parents.has(image.config.id),
    })),
    notices: [],
  };
}

/** References by legacy id. */
async function readNames(archive: Archive): Promise<ReadonlyMap<string, readonly Reference[]>> {
  const { sourceName } = archive;
  const bytes = await readDocument(archive, 'the format', V1_REPOSITORIES, 'ERR_MANIFEST_INVALID');
  const repositories = json.decodeJson(decodeRepositories, bytes, {
    what: `${sourceName}: ${V1_REPOSITORIES}`,
    code: 'ERR_MANIFEST_INVALID',
    maxBytes: MAX_DOCUMENT,
    facts: { path: sourceName, member: V1_REPOSITORIES },
  });
  const names = new Map<string, Reference[]>();
  for (const [name, tags] of repositories)
    for (const [tag, id] of tags) {
      const list = names.get(id) ?? [];
      list.push(repoTag(sourceName, V1_REPOSITORIES, `${name}:${tag}`));
      names.set(id, list);
    }
  if (names.size > 0) return names;
  throw new LayerstackError(
    'ERR_MANIFEST_INVALID',
    `${sourceName}: ${V1_REPOSITORIES} names no image: save at least one`,
    {
      path: sourceName,
      member: V1_REPOSITORIES,
    },
  );
}

async function readLayer(archive: Archive, pool: LayerIdentifier, id: string): Promise<V1Layer> {
  const config = `${id}/json`;
  const raw = await readDocument(archive, V1_REPOSITORIES, config, 'ERR_CONFIG_INVALID');
  const image = parseV1Image(raw, `${archive.sourceName}: '${config}'`);
  const member: FoundMember = findMember(archive, config, `${id}/layer.tar`);
  return { image, layer: { member, diffId: (await pool.peek(member)).diffId } };
}

interface FoundImages {
  readonly layers: ReadonlyMap<string, V1Layer>;
  readonly names: ReadonlyMap<string, readonly Reference[]>;
}

/** Adds the image of a layer to `images`, after the images of the layers below it. */
function build(
  archive: Archive,
  { layers, names }: FoundImages,
  images: Map<string, PlannedImage>,
  top: string,
): void {
  const stack: string[] = [];
  for (
    let id: string | undefined = top;
    id !== undefined && !images.has(id);
    id = layers.get(id)?.image.parent
  ) {
    if (!layers.has(id)) findMember(archive, `${String(stack.at(-1))}/json`, `${id}/json`);
    if (stack.length > layers.size)
      throw new LayerstackError(
        'ERR_MANIFEST_INVALID',
        `${archive.sourceName}: '${id}/json' is its own ancestor`,
        {
          path: archive.sourceName,
          member: `${id}/json`,
        },
      );
    stack.push(id);
  }
  for (const id of stack.reverse()) {
    const { image, layer } = layers.get(id) as V1Layer;
    const below = image.parent === undefined ? undefined : images.get(image.parent);
    // Each image's config contains the history of all images below it. A chain of thousands would take
    // gigabytes.
    inMember(archive.sourceName, `${id}/json`, () => requireDepth((below?.layers.length ?? 0) + 1));
    images.set(id, {
      config: configFromV1(image, layer.diffId, below?.config),
      layers: [...(below?.layers ?? []), layer],
      references: names.get(id) ?? [],
      parent: below?.config.id,
    });
  }
}
