/**
 * Resolves a reference to the image that it names in its registry, and finds the chains that the store lacks.
 */
import { chainIds, imageIdOf, type ChainID, type Digest, type ImageID } from '../../core/digest.ts';
import { LayerstackError } from '../../core/errors.ts';
import { hostPlatform, parseKnownPlatform, type Platform } from '../../core/platform.ts';
import { formatReference, type Reference } from '../../core/reference.ts';
import type { Descriptor } from '../../core/descriptor.ts';
import type { DamageCheck } from '../../layer/damage.ts';
import { stagedForm, type LayerStore, type StoreForm } from '../../layer/store.ts';
import type { LayerMember } from '../ingest/member.ts';
import { extractedChains } from '../ingest/stage-layers.ts';
import { planImage, selectPlatform, type PlannedImage } from '../ingest/planned.ts';
import { fetchConfig } from './config.ts';
import type { PullContext, PullOptions, PullStores } from './options.ts';
import { resolveManifest, type ResolvedManifest } from './resolve-manifest.ts';

export interface ResolvedImage extends ResolvedManifest {
  readonly id: ImageID;
}

/**
 * Returns the image that a reference names.
 * @throws {@link LayerstackError} the errors of `resolveManifest`; ERR_REFERENCE_CONFLICT, before anything
 *   else is fetched, where the reference is by digest and names another image in the store: such a name never
 *   moves.
 */
export async function resolveImage(
  { stores, source, options }: PullContext,
  reference: Reference,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const { tag = '', digest: asked, repository } = reference;
  const resolved = await resolveManifest(
    source,
    {
      sourceName: formatReference(reference),
      tagOrDigest: asked ?? tag,
      platform: platformOf(options) ?? hostPlatform(),
    },
    signal,
  );
  const id = imageIdOf(resolved.manifest.config.digest);
  if (asked !== undefined) await requireDigestName(stores, { repository, digest: resolved.digest }, id);
  return { ...resolved, id };
}

/** Returns the image that a name has in the store, if any. */
export async function ownerOf({ images }: PullStores, name: string): Promise<ImageID | undefined> {
  const references = await images.references();
  return [...references].find(([, names]) => names.includes(name))?.[0];
}

/**
 * Checks that the name is free or names this image. An index by digest has one name for the images of all its
 * platforms.
 */
async function requireDigestName(
  stores: PullStores,
  reference: Reference & { readonly digest: Digest },
  id: ImageID,
): Promise<void> {
  const name = formatReference(reference);
  const owner = await ownerOf(stores, name);
  if (owner === undefined || owner === id) return;
  throw new LayerstackError(
    'ERR_REFERENCE_CONFLICT',
    `${name} names image ${owner} already, of another platform; remove that name first (layerstack rmi ${name})`,
    { reference: name, id: owner },
  );
}

/** How the layers of a planned image are fetched. */
export interface PlanOptions {
  readonly member: (blob: Descriptor) => LayerMember;
  readonly signal: AbortSignal;
}

/**
 * Returns the planned image with its config. The config comes from the store where the store has it.
 * @throws {@link LayerstackError} the errors of `fetchConfig` and `planImage`; ERR_PLATFORM_NOT_FOUND.
 */
export async function planPulledImage(
  { stores, source, options }: PullContext,
  sourceName: string,
  { id, manifest }: ResolvedImage,
  { member, signal }: PlanOptions,
): Promise<{ readonly image: PlannedImage; readonly isKnown: boolean }> {
  const known = await knownConfig(stores, id);
  const raw = known ?? (await fetchConfig(source, sourceName, manifest.config, signal));
  const layers = manifest.layers.map((blob) => ({ member: member(blob), blob }));
  const image = { ...planImage(sourceName, `config ${id}`, raw, layers), references: [] };
  const platform = platformOf(options);
  if (platform) selectPlatform(sourceName, [image], platform);
  return { image, isKnown: known !== undefined };
}

/** Returns the config's bytes where the store has the image intact. */
async function knownConfig({ images }: PullStores, id: ImageID): Promise<Uint8Array | undefined> {
  try {
    return (await images.get(id)).raw;
  } catch (error) {
    if (LayerstackError.is(error)) return undefined;
    throw error;
  }
}

/**
 * Returns the chains that the store lacks, or has damaged, or has only packed where they must be extracted.
 */
export async function missingChains(
  layers: Pick<LayerStore, 'findAll' | 'isClassic'>,
  { config }: PlannedImage,
  { form, damage }: { readonly form: StoreForm | undefined; readonly damage: DamageCheck },
): Promise<ChainID[]> {
  const chain = chainIds(config.diffIds);
  const found = await layers.findAll(chain);
  const extracted = extractedChains(layers, [chain], stagedForm(form));
  const present = found.map((layer) => (layer?.packed && extracted.has(layer.chainId) ? undefined : layer));
  const damaged = await damage.among(present);
  return chain.filter((chainId, index) => present[index] === undefined || damaged.has(chainId));
}

function platformOf({ platform }: PullOptions): Platform | undefined {
  return platform === undefined ? undefined : parseKnownPlatform(platform);
}
