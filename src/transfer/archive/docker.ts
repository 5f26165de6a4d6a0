/**
 * Reads `manifest.json` of a docker-archive, which docker 1.10 and later, podman, skopeo, crane and builders
 * write:
 *
 *   [{"Config":"H.json","RepoTags":["t/a:1"] or null,"Layers":["ID/layer.tar",…],"Parent":"sha256:…"?}]
 *
 * Since docker 25 the archive is an OCI layout too, but this file stays the authority. Buildpack tools leave
 * out layers that the store has. The paths of these layers are empty, or lead to no member. Mirrors
 * `moby/moby: image/tarexport/load.go`.
 */
import { imageIdOf, isDigest } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import * as json from '../../core/json.ts';
import { parseReference, type Reference } from '../../core/reference.ts';
import { findLayer, MAX_DOCUMENT, readDocument, type Archive } from './archive.ts';
import { inMember, planImage, type Plan, type PlannedImage } from '../ingest/planned.ts';
import { checkMemberName } from './members.ts';

export const DOCKER_MANIFEST = 'manifest.json';

// Go reads a null in an array of strings as the empty string.
const strings = json.withDefault<readonly string[]>(json.array(json.withDefault(json.string, '')), []);

const decodeManifest = json.optional(
  json.array(
    json.object({
      Config: json.string,
      RepoTags: strings,
      Layers: strings,
      Parent: json.optional(json.string),
    }),
  ),
);

/**
 * @throws {@link LayerstackError} ERR_MANIFEST_INVALID, ERR_ARCHIVE_MEMBER, ERR_CONFIG_INVALID,
 *   ERR_LAYER_COUNT, ERR_REFERENCE_INVALID, ERR_DIGEST_MISMATCH.
 */
export async function readDocker(archive: Archive): Promise<Plan> {
  const { sourceName } = archive;
  const bytes = await readDocument(archive, 'the format', DOCKER_MANIFEST, 'ERR_MANIFEST_INVALID');
  const items = json.decodeJson(decodeManifest, bytes, {
    what: `${sourceName}: ${DOCKER_MANIFEST}`,
    code: 'ERR_MANIFEST_INVALID',
    maxBytes: MAX_DOCUMENT,
    facts: { path: sourceName, member: DOCKER_MANIFEST },
  });
  if (!items || items.length === 0)
    throw new LayerstackError(
      'ERR_MANIFEST_INVALID',
      `${sourceName}: ${DOCKER_MANIFEST} names no image: save at least one`,
      {
        path: sourceName,
        member: DOCKER_MANIFEST,
      },
    );
  const images: PlannedImage[] = [];
  for (const { Config, RepoTags, Layers, Parent } of items) {
    for (const name of [Config, ...Layers.filter((path) => path !== '')])
      checkMemberName(sourceName, DOCKER_MANIFEST, name);
    const raw = await readDocument(archive, DOCKER_MANIFEST, Config, 'ERR_CONFIG_INVALID');
    const layers = Layers.map((name) => ({ member: findLayer(archive, DOCKER_MANIFEST, name) }));
    images.push({
      ...planImage(sourceName, Config, raw, layers),
      references: RepoTags.map((tag) => repoTag(sourceName, DOCKER_MANIFEST, tag)),
      parent: Parent !== undefined && isDigest(Parent) ? imageIdOf(Parent) : undefined,
    });
  }
  return { images, notices: [] };
}

/**
 * Parses a name as docker writes it into an archive: with a tag.
 *
 * @throws {@link LayerstackError} ERR_REFERENCE_INVALID
 */
export function repoTag(sourceName: string, member: string, text: string): Reference {
  const { repository, tag, digest } = inMember(sourceName, member, () => parseReference(text));
  if (tag !== undefined && digest === undefined) return { repository, tag };
  throw new LayerstackError(
    'ERR_REFERENCE_INVALID',
    `${sourceName}: '${member}' names an image '${text}', which must be NAME:TAG; save the image again`,
    { path: sourceName, member, reference: text },
  );
}
