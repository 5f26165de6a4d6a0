/** Reads the operator's settings of registries in a store's directory, without opening the store. */
import { resolve } from 'node:path';
import { Layout } from '../system/layout.ts';
import { placeOf, requireSafe } from '../system/safe-root.ts';
import { defaultSettings, readSettings, type RegistrySettings } from '../transfer/registry/settings.ts';

/**
 * Returns the settings of the store at `root`, which need not exist.
 * @throws {@link LayerstackError} ERR_REGISTRY_SETTINGS naming the file and the key; ERR_STORE_UNSAFE where
 *   others can write to the root, and so to the settings.
 */
export async function storeSettings(root: string, allowUnsafeRoot: boolean): Promise<RegistrySettings> {
  const place = await placeOf(root);
  const layout = new Layout(place.exists ? place.path : resolve(root));
  const path = layout.at(layout.registrySettings);
  if (!place.exists) return defaultSettings(path);
  if (!allowUnsafeRoot) await requireSafe(root);
  return readSettings(path);
}
